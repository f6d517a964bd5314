"""What every layout offers, and how files get onto a disk for good."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fastdump.errors import StorageError
from fastdump.model import Backup, Catalog, Encoding, Part, StoredCollection
from fastdump.report import CollectionReport

__all__ = ["BackupWriter", "Form", "Layout", "Source", "disk", "private", "sync", "write_synced"]


class BackupWriter(Protocol):
    """A backup in the making, invisible until `commit`."""

    path: Path
    """Where it will be found."""
    encoding: Encoding
    """What parts must hold."""

    @property
    def name(self) -> str:
        """What the backup will be called."""

    def part_path(self, collection: str, number: int) -> Path:
        """Where a worker writes a chunk."""

    def add(self, collection: str, number: int, part: Part) -> None:
        """Take over a finished part; those of one collection are joined by their numbers."""

    def report(self, collection: str) -> CollectionReport:
        """What the parts of a collection sum up to."""

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: str
    ) -> None:
        """Put everything on the disk for good, and only then give it its name.

        Raises:
            StorageError: the disk refuses; nothing has its name then.
        """

    def abort(self) -> None:
        """Remove what was written so far; what was there before is untouched."""


class Form(Protocol):
    """What the files of a backup are called, and what they hold."""

    encoding: Encoding
    latest_only: frozenset[str]
    """Collections of which only the latest copy is kept, beside the backups."""

    def file_names(self, catalog: Catalog) -> dict[str, str]:
        """The file of each collection, in the backup's folder or one folder deeper."""

    def further_files(self, catalog: Catalog) -> dict[str, bytes]:
        """What else must lie there: paths and contents."""


class Source(Protocol):
    """Where backups can be read."""

    def find(self, name: str | None) -> Backup:
        """The backup of that name or path, or the most recent one.

        Raises:
            BackupNotFoundError: there is none.
        """

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """What a restore of the backup brings back, and what the user should know of it."""

    def target(self, backup: Backup) -> str:
        """The database that is restored into, where none is named."""


class Layout(Source, Protocol):
    """A place with backups, to which more can be added."""

    def backups(self) -> list[Backup]:
        """All complete backups, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """

    def begin(self, taken: datetime, catalog: Catalog) -> BackupWriter:
        """Start a backup.

        Raises:
            StorageError: the folder cannot be written.
        """

    def remove(self, backup: Backup) -> None:
        """Delete a backup.

        Raises:
            StorageError: it cannot be deleted.
        """


_ADVICE = {
    errno.ENOSPC: "there is no space left; free some and run the same command again",
    errno.EDQUOT: "the quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied; run as a user who may use it, or name another with -f",
    errno.EPERM: "permission denied; run as a user who may use it, or name another with -f",
    errno.ENOENT: "it does not exist; check the path, and that the volume is mounted",
    errno.ENOTDIR: "it is no folder",
}


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an OSError within into a sentence about that path.

    Raises:
        StorageError: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else path
        said = _ADVICE.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"{named}: {said}") from error


def write_synced(path: Path, content: bytes) -> None:
    """Write a small file, in a folder that has not its name yet, and sync it.

    Raises:
        OSError: the disk refuses.
    """
    with open(path, "wb", opener=private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def private(path: str, flags: int) -> int:
    """An opener for `open` whose files only their owner can read: backups hold secrets."""
    return os.open(path, flags, 0o600)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
