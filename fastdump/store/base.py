"""What every layout offers, and what the errors of a disk mean."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from fastdump.errors import StorageError
from fastdump.model import (
    Backup,
    Catalog,
    Chunk,
    Consistency,
    Encoding,
    Namespace,
    Part,
    StoredCollection,
)
from fastdump.report import CollectionReport, Problem
from fastdump.store.volume import Volume

__all__ = [
    "STREAM",
    "BackupWriter",
    "Destination",
    "Form",
    "Layout",
    "Opened",
    "Outputs",
    "Source",
    "disk",
]

STREAM = "-"
"""What standard input and output are called."""


class Outputs(Protocol):
    """Where workers write chunks; it travels to their processes when they start."""

    can_restart: ClassVar[bool]
    """Whether what was written of a chunk can be taken back by opening it again."""

    def opened(self, chunk: Chunk) -> AbstractContextManager[Opened]:
        """The output for a chunk, open.

        Raises:
            StorageError: it cannot be written.
        """


class Opened(Protocol):
    """An open output."""

    def write(self, data: bytes, /) -> int:
        """Write all of that; returns its place among all writes, where several processes write."""


class BackupWriter(Protocol):
    """A backup in the making, invisible until `commit`."""

    path: Path
    """Where it will be found."""
    encoding: Encoding
    """How its documents are written."""
    compressed: bool
    """Whether it is gzip."""

    @property
    def name(self) -> str:
        """What the backup will be called."""

    @property
    def outputs(self) -> Outputs:
        """Where workers write chunks."""

    def add(self, chunk: Chunk, part: Part) -> None:
        """Take over a finished chunk; those of one collection are joined by their numbers."""

    def leave_out(self, namespace: Namespace) -> None:
        """Take back what was written of a collection, which `commit` then must not be told of.

        Raises:
            ServerError: what is written cannot be taken back.
        """

    def parts(self, namespace: Namespace) -> Sequence[Part]:
        """Return the parts of a collection that were taken over, also of an earlier run."""

    def report(self, namespace: Namespace) -> CollectionReport:
        """What the parts of a collection sum up to."""

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: Consistency
    ) -> None:
        """Put everything on the disk for good, and only then give it its name.

        Raises:
            StorageError: the disk refuses; nothing has its name then.
        """

    def forget(self) -> None:
        """Keep nothing of it for another run, should this one not come to its end."""

    def abort(self) -> None:
        """Remove what was written so far; what was there before is untouched."""

    def close(self) -> None:
        """Let others write there; to do it again does nothing."""


class Form(Protocol):
    """What the files of a backup are called, and what they hold."""

    layout: str
    """Its name, one of `fastdump.model.LAYOUTS`."""
    encoding: Encoding
    compressed: bool
    latest_only: frozenset[str]
    """Collections of which only the latest copy is kept, beside the backups."""

    def file_names(self, catalog: Catalog) -> dict[Namespace, str]:
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

    def problems(self, backup: Backup) -> list[Problem]:
        """What is wrong with the backup's files, documents aside.

        Raises:
            StorageError: a file cannot be read.
        """


class Destination(Protocol):
    """A place to which backups can be added."""

    volume: Volume
    """The file system that it is on."""
    can_repeat: bool
    """Whether a backup that failed half way leaves nothing, so that it can be made again."""

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> BackupWriter:
        """Start a backup, which so many workers will write.

        Raises:
            StorageError: the place cannot be written.
        """


class Layout(Source, Destination, Protocol):
    """A folder of backups, of which old ones are pruned."""

    def backups(self) -> list[Backup]:
        """All complete backups, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """

    def stale(self) -> list[tuple[datetime, Path]]:
        """What runs left behind that were killed, oldest first, with when they began.

        Raises:
            StorageError: the folder cannot be read.
        """

    def locked(self) -> AbstractContextManager[None]:
        """Keep others from writing here and from pruning within.

        Raises:
            StorageError: somebody else does.
        """

    def remove(self, path: Path) -> None:
        """Delete the folder of a backup, or of what a killed run left behind.

        Raises:
            StorageError: it cannot be deleted; unless a part of it is gone, it is still there.
        """


_ADVICE = {
    errno.EPIPE: "whoever read it has ended; look there for the reason",
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
