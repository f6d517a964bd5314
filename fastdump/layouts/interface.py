"""What every layout offers."""

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
    "Form",
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

    def write(self, data: bytes, documents: int = 0, /) -> int:
        """Write all of that, which holds so many documents.

        Returns:
            Its place among all writes, where several processes write.

        Raises:
            StorageError: it cannot be written.
        """

    def end(self, part: Part, /) -> Part:
        """Write what was held back, and add to a part what only the output knows of it.

        Raises:
            StorageError: it cannot be written.
        """


class BackupWriter(Protocol):
    """A backup in the making, invisible until `commit`."""

    encoding: Encoding
    """How its documents are written."""
    compressed: bool
    """Whether it is gzip."""

    @property
    def path(self) -> Location:
        """Where it will be found."""

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


class ResumableWriter(BackupWriter, Protocol):
    """A backup in the making that another run can go on with."""

    def keep_journal(self, planned: Planned) -> None:
        """Let another run go on where this one ends, should it not come to its end.

        Raises:
            StorageError: the journal cannot be written.
        """

    def resume(self, planned: Planned, finished: Sequence[Finished]) -> set[Chunk]:
        """Take over what an earlier run wrote into the same folder, as far as it is whole.

        Returns:
            The chunks that need not be read again.

        Raises:
            StorageError: the disk refuses.
        """


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

    @property
    def reader(self) -> Reader:
        """What reads its documents, where they do not come as a stream."""

    @property
    def stream(self) -> Stream | None:
        """The backup, if it can only be read once; None where it is files, which can be cut."""

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
        """A guess at the size of its documents; 0 where nothing is known."""

    def blocks(self, backup: Backup) -> Iterator[Block | End]:
        """All documents, and the end of each namespace: what holds the data, not what is described.

        Raises:
            BackupDamagedError: it is cut or damaged; what came before was yielded.
            StorageError: it cannot be read.
        """

    can_repeat: bool
    """Whether it can be read again: what came on standard input is gone."""

    def again(self) -> Stream:
        """The same from its beginning."""


class Destination(Protocol):
    """A place to which backups can be added."""

    can_repeat: bool
    """Whether a backup that failed half way leaves nothing, so that it can be made again."""

    @property
    def notes(self) -> Sequence[str]:
        """The guarantees that the place does not give, as far as that was found out."""

    @property
    def layout(self) -> Layout | None:
        """The backups folder, where this is one of many backups; None where it stands alone."""

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

    def latest(self) -> list[StoredCollection]:
        """The collections beside the backups, of which there is only the latest copy.

        Raises:
            StorageError: the folder cannot be read.
        """

    def stale(self) -> list[tuple[datetime, Location]]:
        """What runs left behind that were killed, oldest first, with when they began.

        Raises:
            StorageError: the folder cannot be read.
        """

    def locked(self) -> AbstractContextManager[None]:
        """Keep others from writing here and from pruning within.

        Raises:
            StorageError: somebody else does.
        """

    def remove(self, path: Location) -> None:
        """Delete a backup, or what a killed run left behind.

        Raises:
            StorageError: it cannot be deleted; unless a part of it is gone, it is still there.
        """

    def sweep(self) -> Swept:
        """Delete what is stored once for several backups, and no longer needed by any.

        Raises:
            StorageError: it cannot be deleted; every backup is still whole.
        """


class Swept(NamedTuple):
    """What sweeping deleted."""

    file_bytes: int | None
    """None where nothing is stored for several backups."""
    notes: tuple[str, ...] = ()
    """What the user should know of it."""


class Resumable(Protocol):
    """A folder of backups in which another run can go on where one ended."""

    @property
    def told(self) -> str:
        """How new backups are written, for comparison only."""

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> ResumableWriter:
        """Start a backup, which so many workers will write.

        Raises:
            StorageError: the place cannot be written.
        """

    def resume(self, settings: str) -> tuple[ResumableWriter, Planned, Sequence[Finished]] | None:
        """The newest backup that was begun with the same settings and did not come to its end.

        Raises:
            StorageError: the folder cannot be written.
        """
