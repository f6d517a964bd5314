"""A storage in a local folder: each object is a file, written under another name and then renamed.

Files whose names begin with a dot belong to the storage itself: objects that are being written, and
locks. A killed writer leaves such a file behind; it is never taken for an object.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from fastdump.errors import ObjectNotFoundError
from fastdump.storage.disk_errors import disk
from fastdump.storage.interface import Entry, checked
from fastdump.storage.volume import PRIVATE, Volume, private

__all__ = ["LocalStorage"]

_NO_LINKS = {errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of file systems without hard links, such as vfat and many network shares."""


class LocalStorage:
    """Storage in a folder, which is created by the first `put`.

    Args:
        folder: the folder.
        mode: the permissions of new files.
    """

    def __init__(self, folder: Path, mode: int = PRIVATE) -> None:
        self._folder = folder
        self._volume = Volume(folder, mode)

    @property
    def shown(self) -> str:
        """The folder."""
        return str(self._folder)

    @property
    def notes(self) -> list[str]:
        """Notes on guarantees that this file system was found not to give."""
        return self._volume.notes

    def put(self, key: str, data: bytes) -> None:
        """Write an object, and replace one that has this key."""
        path = self._path(key)
        with disk(path), self._written(path, data) as partial:
            partial.replace(path)
            self._volume.sync(path.parent)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken, and return True if it was written."""
        path = self._path(key)
        with disk(path):
            if path.exists():  # saves a useless write; the link decides
                return False
            with self._written(path, data) as partial:
                is_new = self._linked(partial, path)
                self._volume.sync(path.parent)
            return is_new

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object."""
        with self._found(key) as path, path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        with self._found(key) as path, path.open("rb") as file:  # a folder cannot be opened
            return os.fstat(file.fileno()).st_size

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Yield all objects of a folder, even if some are removed meanwhile."""
        start = self._path(folder) if folder else self._folder
        with disk(start):
            for path in _files(start):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                yield Entry(str(path.relative_to(self._folder)), found.st_size, modified)

    def delete(self, key: str) -> None:
        """Remove an object. Its folder stays, because somebody may be writing to it."""
        path = self._path(key)
        with disk(path):
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / checked(key)

    @contextmanager
    def _found(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        with disk(path):
            try:
                yield path
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise ObjectNotFoundError(f"{self.shown}: there is no {key}") from None

    @contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        """Write and sync a file beside `path`; remove it at the end, unless it was renamed."""
        self._volume.make_folder(path.parent)
        partial = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            self._volume.write(partial, data)
            self._volume.set_mode(partial)
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _linked(self, partial: Path, path: Path) -> bool:
        """Give a file a second name unless that is taken, and return True if it was given."""
        try:
            path.hardlink_to(partial)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._renamed(partial, path)
        return True

    def _renamed(self, partial: Path, path: Path) -> bool:
        """Rename a file unless the name is taken, one writer at a time; return True if renamed."""
        with open(self._folder / ".lock", "ab", opener=private) as lock:
            self._volume.lock(lock.fileno(), wait=True)
            if path.exists():
                return False
            partial.rename(path)
            return True


def _files(folder: Path) -> Iterator[Path]:
    for inner, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inner, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
