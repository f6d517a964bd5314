"""The interfaces that every layout implements: destinations, writers, sources, streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from fastdump.codec.archive import Block, End
from fastdump.codec.bson import Batch
from fastdump.layouts.journal import Finished, Planned
from fastdump.model import (
    Backup,
    Bounds,
    Catalog,
    Chunk,
    Consistency,
    Encoding,
    FileRange,
    Location,
    Namespace,
    Part,
    Segment,
    StoredCollection,
)
from fastdump.report import CollectionReport, Problem

__all__ = [
    "BackupWriter",
    "Destination",
    "Layout",
    "Opened",
    "Outputs",
    "Reader",
    "Resumable",
    "ResumableWriter",
    "Source",
    "Stream",
    "Swept",
]


class Outputs(Protocol):
    """The outputs that workers write chunks to; sent to their processes when they start."""

    can_restart: ClassVar[bool]
    """True if opening a chunk's output again discards everything written to it before."""
    takes_many: ClassVar[bool]
    """True if a worker may write several chunks at the same time: each takes little memory."""

    def opened(self, chunk: Chunk) -> AbstractContextManager[Opened]:
        """Open the output for a chunk.

        Raises:
            StorageError: the output cannot be written.
        """


class Opened(Protocol):
    """An open output."""

    def write(self, data: bytes, documents: int = 0, /) -> int:
        """Write all bytes, which hold that number of documents.

        Returns:
            The position among all writes, if several processes write.

        Raises:
            StorageError: the output cannot be written.
        """

    def end(self, part: Part, /) -> Part:
        """Write what was held back, and return the part with what only the output knows of it.

        Raises:
            StorageError: the output cannot be written.
        """


class BackupWriter(Protocol):
    """The writer of one backup, which is invisible until `commit`."""

    encoding: Encoding
    """Encoding of the documents."""
    level: int | None
    """Level of gzip at which workers compress documents; None if they do not."""

    @property
    def path(self) -> Location:
        """The place of the finished backup."""

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


class Source(Protocol):
    """A place from which backups can be read."""

    @property
    def reader(self) -> Reader:
        """The reader of its documents, if they do not come as a stream."""

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

    def damaged_definitions(self, backup: Backup) -> list[Problem]:
        """Return files that describe the collections of the backup and are damaged or changed.

        Raises:
            StorageError: a file cannot be read.
        """

    def problems(self, backup: Backup) -> list[Problem]:
        """Return the problems of the backup's files, except those of documents.

        Raises:
            StorageError: a file cannot be read.
        """


class Reader(Protocol):
    """Reads the documents of backups; it travels to workers.

    Documents that are lines of JSON are read with `layouts.segments.read_lines` instead.
    """

    def missing(self, collections: Sequence[StoredCollection]) -> list[Problem]:
        """Return what is missing or cut, as far as that is known without reading any document.

        Raises:
            StorageError: the storage cannot be read.
        """

    def segments(
        self,
        collection: StoredCollection,
        readers: int = 1,
        *,
        whole: bool = False,
        lost: list[str] | None = None,
    ) -> list[Segment]:
        """Cut what holds a collection's documents into what one worker reads in one go.

        Args:
            collection: the collection.
            readers: how many workers share it.
            whole: leave it in one segment, so that the order of documents is kept.
            lost: gets what is damaged, and the rest is cut; where it is None, damage is an error.

        Raises:
            BackupDamagedError: it is damaged.
            StorageError: it cannot be read.
        """

    def batches(self, place: FileRange, lost: list[str] | None = None) -> Iterator[Batch]:
        """Yield the documents of a segment, about a megabyte at a time.

        Args:
            place: where they are.
            lost: gets what was lost to damage, so that all that is intact is read; where it is
                None, damage is an error.

        Raises:
            BackupDamagedError: it is not what was written.
            StorageError: it cannot be read.
        """

    def verified(
        self, place: FileRange, digests: list[bytes], problems: list[Problem]
    ) -> Iterator[Batch]:
        """Yield those documents of a segment that are what was written.

        Args:
            place: where they are.
            digests: gets those over which the digest of the collection is.
            problems: gets what is damaged.

        Raises:
            StorageError: it cannot be read.
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

    can_repeat: bool
    """True if a failed backup leaves nothing behind, so that it can be started again."""

    @property
    def notes(self) -> Sequence[str]:
        """The guarantees that the place does not give, as far as that was found out."""

    @property
    def layout(self) -> Layout | None:
        """The folder of backups, if the place is one; None if it holds a single backup."""

    @property
    def resumable(self) -> Resumable | None:
        """The same, where another run can go on with a backup that did not come to its end."""

    def known_bounds(self) -> Mapping[Namespace, Bounds] | None:
        """Return where the last backup cut collections; None if the places do not matter.

        What is cut in the same places again need not be written again.

        Raises:
            StorageError: the place cannot be read.
        """

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> BackupWriter:
        """Start a backup, which will be written by that number of workers.

        Raises:
            StorageError: the place cannot be written.
        """


class Layout(Source, Destination, Protocol):
    """A folder of backups, from which old ones can be removed."""

    def backups(self) -> list[Backup]:
        """Return all complete backups, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """

    def latest(self) -> list[StoredCollection]:
        """Return the collections beside the backups, of which there is only the latest copy.

        Raises:
            StorageError: the folder cannot be read.
        """

    def stale(self) -> list[tuple[datetime, Location]]:
        """Return the unfinished folders of killed runs, each with its time, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder inside the context, so that nobody else writes or prunes here.

        Raises:
            StorageError: somebody else has locked it.
        """

    def remove(self, path: Location) -> None:
        """Delete a backup, or the unfinished folder of a killed run.

        Raises:
            StorageError: it cannot be deleted; it keeps its name unless parts are gone.
        """

    def sweep(self) -> Swept:
        """Delete what is stored once for several backups, and no longer needed by any.

        Raises:
            StorageError: it cannot be deleted; every backup is still whole.
        """


class Swept(NamedTuple):
    """The result of sweeping."""

    file_bytes: int | None
    """None where nothing is stored for several backups."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should know."""


class Resumable(Protocol):
    """A folder of backups in which another run can go on where one ended."""

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
