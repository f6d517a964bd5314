"""Folders for temporary files, with a clear message if there are none, as in some containers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastdump.errors import StorageError
from fastdump.storage.disk_errors import disk

__all__ = ["scratch", "scratch_folder"]


@contextmanager
def scratch() -> Iterator[Path]:
    """Return the folder for temporary files, and translate its errors inside the context.

    Raises:
        StorageError: there is no such folder, or an OSError was raised inside.
    """
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise StorageError(
            "no folder for temporary files can be written: set TMPDIR to a writable folder"
        ) from error
    with disk(folder):
        yield folder


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Return a new temporary folder, which is removed at the end of the context.

    Raises:
        StorageError: the folder cannot be created.
    """
    with scratch():
        made = tempfile.TemporaryDirectory(prefix=prefix)
    with made as name:
        yield Path(name)
