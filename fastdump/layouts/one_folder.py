"""The destination of `--out`: a folder of the user's choice for one backup."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from fastdump.errors import StorageError
from fastdump.layouts.folder_writer import PARTIAL, FolderWriter, new_writer
from fastdump.layouts.form import Form
from fastdump.model import Catalog
from fastdump.storage.disk_errors import disk
from fastdump.storage.locking import Lock
from fastdump.storage.volume import PRIVATE, Volume, see_folder

__all__ = ["OneFolder"]


class OneFolder:
    """Destination of one backup in a folder of the user's choice, which is never pruned.

    Args:
        path: the folder, which must be empty if it exists.
        form: the form of the files.
        mode: the permissions of the files.
    """

    can_repeat = True
    layout = None
    resumable = None

    def __init__(self, path: Path, form: Form, mode: int = PRIVATE) -> None:
        self._path = path
        self._volume = Volume(path, mode)
        self._form = form

    @property
    def notes(self) -> list[str]:
        """The guarantees that its file system does not give."""
        return self._volume.notes

    def known_bounds(self) -> None:
        """Return None: files may be cut anywhere."""

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> FolderWriter:  # noqa: ARG002
        """Start the backup.

        Raises:
            StorageError: the folder is not empty, or cannot be written.
        """
        path = self._path.absolute()
        with disk(path):
            see_folder(path)
            path = path.resolve()  # a link could not be replaced by a folder
            if found := next(path.iterdir(), None) if path.exists() else None:
                raise StorageError(
                    f"{path}: the folder is not empty ({found.name}); name another with --out"
                )
            self._volume.make_folder(path.parent)
            lock = Lock(path.with_name(f".{path.name}.lock"), path, self._volume)
            try:
                partial = path.with_name(f".{path.name}{PARTIAL}")
                if partial.exists():
                    shutil.rmtree(partial)
                return new_writer(path, partial, catalog, self._form, lock, self._volume)
            except BaseException:
                lock.release()
                raise
