"""The interfaces that every layout implements: destinations, writers, sources, streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from fastdump.codec.archive import Block, End
from fastdump.layouts.journal import Finished, Planned
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
from fastdump.storage.volume import Volume

__all__ = [
    "BackupWriter",
    "Destination",
    "Form",
    "Layout",
    "Opened",
    "Outputs",
    "ResumableWriter",
    "Source",
    "Stream",
]


class Outputs(Protocol):
    """The outputs that workers write chunks to; sent to their processes when they start."""

    can_restart: ClassVar[bool]
    """True if opening a chunk's output again discards everything written to it before."""

    def opened(self, chunk: Chunk) -> AbstractContextManager[Opened]:
        """Open the output for a chunk.

        Raises:
            StorageError: the output cannot be written.
        """


class Opened(Protocol):
    """An open output."""

    def write(self, data: bytes, /) -> int:
        """Write all bytes; return the position among all writes, if several processes write."""


class BackupWriter(Protocol):
    """The writer of one backup, which is invisible until `commit`."""

    path: Path
    """Path of the finished backup."""
    encoding: Encoding
    """Encoding of the documents."""
    compressed: bool
    """True if the documents are compressed with gzip."""

    @property
    def name(self) -> str:
        """The name of the finished backup."""

    @property
    def outputs(self) -> Outputs:
        """The outputs that workers write chunks to."""

    def add(self, chunk: Chunk, part: Part) -> None:
        """Record a finished chunk; the chunks of a collection are joined in order."""

    def leave_out(self, namespace: Namespace) -> None:
        """Discard a collection, which the catalog given to `commit` must not contain.

        Raises:
            ServerError: what is written cannot be discarded.
        """

    def parts(self, namespace: Namespace) -> Sequence[Part]:
        """Return the recorded parts of a collection, including those of an earlier run."""

    def report(self, namespace: Namespace) -> CollectionReport:
        """Return the sums of a collection's parts."""

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: Consistency
    ) -> None:
        """Sync everything to the disk, and only then give the backup its name.

        Raises:
            StorageError: the disk refuses; the backup has no name then.
        """

    def forget(self) -> None:
        """Stop keeping the journal, so that a failure leaves nothing for a later run."""

    def abort(self) -> None:
        """Remove the unfinished backup; older ones stay unchanged."""

    def close(self) -> None:
        """Release the lock on the place; calling it again does nothing."""


class ResumableWriter(BackupWriter, Protocol):
    """The writer of a backup that a later run can continue."""

    def keep_journal(self, planned: Planned) -> None:
        """Keep a journal from now on, so that a later run can continue this one.

        Raises:
            StorageError: the journal cannot be written.
        """

    def resume(self, planned: Planned, finished: Sequence[Finished]) -> set[Chunk]:
        """Take over the intact parts that an earlier run wrote to the same folder.

        Returns:
            The chunks that need not be read again.

        Raises:
            StorageError: the disk refuses.
        """


class Form(Protocol):
    """The names and contents of a backup's files."""

    layout: str
    """Name of the layout, one of `fastdump.model.LAYOUTS`."""
    encoding: Encoding
    compressed: bool
    latest_only: frozenset[str]
    """Collections of which only the latest copy is kept, beside the backups."""

    def file_names(self, catalog: Catalog) -> dict[Namespace, str]:
        """Return the file of each collection, in the backup's folder or one folder deeper."""

    def further_files(self, catalog: Catalog) -> dict[str, bytes]:
        """Return the other files that the layout requires, as paths and contents."""


class Source(Protocol):
    """A place from which backups can be read."""

    @property
    def stream(self) -> Stream | None:
        """The backup, if it can only be read once; None if it is files, which can be cut."""

    def find(self, name: str | None) -> Backup:
        """Return the backup of that name or path, or the most recent one.

        Raises:
            BackupNotFoundError: there is no such backup.
        """

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """Return the collections that a restore brings back, and notes for the user."""

    def problems(self, backup: Backup) -> list[Problem]:
        """Return the problems of the backup's files, except those of documents.

        Raises:
            StorageError: a file cannot be read.
        """


class Stream(Source, Protocol):
    """A backup that can only be read once, from its beginning to its end."""

    path: Path
    """Its file."""

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of the documents in bytes; 0 if unknown."""

    def blocks(self, backup: Backup) -> Iterator[Block | End]:
        """Yield all documents, and the end of each namespace, by the namespaces of the data.

        Raises:
            BackupDamagedError: the stream is cut or damaged; everything before that was yielded.
            StorageError: the stream cannot be read.
        """

    can_repeat: bool
    """True if the stream can be read again; standard input cannot."""

    def again(self) -> Stream:
        """Open the stream again, at its beginning."""


class Destination(Protocol):
    """A place to which a backup can be written."""

    volume: Volume
    """File system of the place."""
    can_repeat: bool
    """True if a failed backup leaves nothing behind, so that it can be started again."""

    @property
    def layout(self) -> Layout | None:
        """The folder of backups, if the place is one; None if it holds a single backup."""

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> BackupWriter:
        """Start a backup, which will be written by that number of workers.

        Raises:
            StorageError: the place cannot be written.
        """


class Layout(Source, Destination, Protocol):
    """A folder of backups, from which old ones can be removed."""

    @property
    def told(self) -> str:
        """A text that is equal for folders that write backups in the same way."""

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> ResumableWriter:
        """Start a backup, which will be written by that number of workers.

        Raises:
            StorageError: the place cannot be written.
        """

    def resume(self, settings: str) -> tuple[ResumableWriter, Planned, Sequence[Finished]] | None:
        """Return the newest unfinished backup with the same settings, or None.

        Raises:
            StorageError: the folder cannot be written.
        """

    def backups(self) -> list[Backup]:
        """Return all complete backups, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """

    def stale(self) -> list[tuple[datetime, Path]]:
        """Return the unfinished folders of killed runs, each with its time, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder inside the context, so that nobody else writes or prunes here.

        Raises:
            StorageError: somebody else has locked it.
        """

    def remove(self, path: Path) -> None:
        """Delete a backup, or the unfinished folder of a killed run.

        Raises:
            StorageError: the folder cannot be deleted; it keeps its name unless parts are gone.
        """
