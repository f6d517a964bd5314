"""The folder for temporary files, which a container may not have."""

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
    """Give the folder for temporary files, and turn what it refuses within into a sentence.

    Raises:
        StorageError: there is none, or it refuses.
    """
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise StorageError(
            "no folder for temporary files can be written: name one with TMPDIR"
        ) from error
    with disk(folder):
        yield folder


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Give a new folder there, which is gone afterwards.

    Raises:
        StorageError: it cannot be made.
    """
    with scratch():
        made = tempfile.TemporaryDirectory(prefix=prefix)
    with made as name:
        yield Path(name)
