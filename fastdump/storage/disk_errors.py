"""Translate errors of a disk into messages: the only place where an OSError becomes a sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastdump.errors import StorageError

__all__ = ["disk"]

_ADVICE = {
    errno.EPIPE: "the program that reads it has ended; look there for the reason",
    errno.ENOSPC: "there is no space left; free some and run the same command again",
    errno.EDQUOT: "the quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied; run as a user who may use it, or name another with -f",
    errno.EPERM: "permission denied; run as a user who may use it, or name another with -f",
    errno.ENOENT: "it does not exist; check the path, and that the volume is mounted",
    errno.ENOTDIR: "it is not a folder; check the path",
}


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an OSError inside the context into a message about its file, or else about `path`.

    Raises:
        StorageError: an OSError was raised inside.
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else path
        said = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{named}: {said}") from error
