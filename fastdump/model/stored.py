"""The contents of backups: parts while a backup is made, then files, members and segments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from fastdump.model.locations import Location
from fastdump.model.names import LAYOUTS
from fastdump.model.server import (
    NO_OPTIONS,
    Bson,
    ClusterTime,
    CollectionKind,
    Namespace,
    data_namespace,
)

__all__ = [
    "ArchivedBlock",
    "Backup",
    "Consistency",
    "Contents",
    "Encoding",
    "FileRange",
    "Losses",
    "Member",
    "Origin",
    "Part",
    "Piece",
    "Segment",
    "StoredCollection",
    "StoredFile",
    "ViewIds",
]


class Encoding(StrEnum):
    """The form of the documents in a file."""

    BSON = "bson"
    JSON = "json"
    """One line of Extended JSON for each document, as Komodo's own backup writes them."""
    ARCHIVE = "archive"
    """BSON in blocks, each with its namespace, so that all collections share one stream."""
    PIECES = "pieces"
    """BSON in pieces that are named by their content, which the destination makes itself."""


@dataclass(frozen=True, slots=True)
class Losses:
    """The documents of a part that JSON lines cannot carry exactly."""

    inexact: int
    """Number of documents that do not come back exactly as they were, or not at all."""
    first: str | None
    """The `_id` of the first of them."""
    other_ids: int
    """Number of documents whose `_id` is not an ObjectId; Komodo's own restore skips them."""


@dataclass(frozen=True, slots=True)
class ViewIds:
    """The documents of a view that a collection cannot hold as they are."""

    doubled: int
    """Number of documents with the `_id` of another."""
    without: int
    """Number of documents without an `_id`."""


@dataclass(frozen=True, slots=True)
class ArchivedBlock:
    """A block that was written into an archive."""

    place: int
    """A number that is larger for blocks that come later."""
    crc: int
    """The CRC-64 of its documents."""
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Some documents of one collection as a repository holds them, named by what they are."""

    name: bytes
    """The keyed BLAKE3 of the documents, 32 bytes."""
    documents: int
    raw_bytes: int
    file_bytes: int
    """Size in the repository."""
    is_new: bool = False
    """True if it was put there by the backup that is being made."""


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk as it was written: gzip members, or for JSON lines a piece of one member."""

    documents: int
    raw_bytes: int
    file_bytes: int
    seconds: float
    """Time in seconds that a worker was busy with it."""
    member_digests: bytes = b""
    """The BLAKE3 of each member's bytes, 32 bytes each, in the order of the file."""
    text_crc: int = 0
    """The CRC-32 of its JSON lines."""
    text_bytes: int = 0
    """The length of its JSON lines."""
    losses: Losses | None = None
    ids: ViewIds | None = None
    """The `_id`s of the documents, if they are all those that a view shows."""
    blocks: tuple[ArchivedBlock, ...] = ()
    """Its blocks in an archive."""
    digest: str = ""
    """The hexadecimal BLAKE3 of its bytes in the file, if it is not made of members."""
    interruptions: int = 0
    """Number of times that the server went away meanwhile."""
    first: bytes = b""
    """The BLAKE3, 16 bytes, of the first document's `_id`; empty if there is none."""
    last: bytes = b""
    """The same of the last document."""
    pieces: tuple[Piece, ...] = ()
    """Those that it became in a repository."""


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member of a file of a backup, which holds some whole documents."""

    offset: int
    file_bytes: int
    """Length of the member in the file, with header and trailer."""
    raw_bytes: int
    documents: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The file with the documents of a collection."""

    path: Path
    file_bytes: int
    """The size that was written, as far as the backup says; else the size that it has."""
    pieces: tuple[Piece, ...] = ()
    """In a repository: the pieces that hold the documents, in their order. The path is a name then,
    for messages."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The documents of a file, as the manifest describes them; None is not known."""

    documents: int | None = None
    raw_bytes: int | None = None
    digest: str | None = None
    """As `Entry.digest` of manifests."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The backup that a collection was stored by."""

    started: datetime | None = None
    """The beginning of that backup, if it is known."""
    latest_only: bool = False
    """True if only the latest copy of the collection is kept, beside the dated folders."""
    is_of_another: bool = False
    """True if that latest copy is not of the backup that is looked at, but of another."""
    was_replaced: bool = False
    """True if another program replaced the file of the latest copy, and left its manifest."""


@dataclass(frozen=True, slots=True)
class StoredCollection:
    """A collection in a backup.

    Without a readable manifest its options and indexes are unknown.
    """

    namespace: Namespace
    """The collection that was read, or that is written."""
    kind: CollectionKind = CollectionKind.COLLECTION
    file: StoredFile | None = None
    """None for a view, and in an archive, where all collections are in one file."""
    options: Bson = NO_OPTIONS
    indexes: tuple[Bson, ...] = ()
    uuid: str | None = None
    """The UUID by which the server knew it, 32 hexadecimal digits, if it is known."""
    contents: Contents = Contents()
    origin: Origin = Origin()

    @property
    def name(self) -> str:
        """Its name in its database."""
        return self.namespace.collection

    @property
    def file_bytes(self) -> int:
        """Size of its file; 0 if it has none."""
        return 0 if self.file is None else self.file.file_bytes

    @property
    def is_of_collection(self) -> bool:
        """True if it was a collection of a server, so that each document has an `_id` of its own.

        What other programs wrote, and what a view showed, may have no `_id`, or one twice.
        """
        return self.contents.documents is not None and self.uuid is not None

    @property
    def is_of_other_moment(self) -> bool:
        """True if it is not what the backup stored that is looked at, but a later copy."""
        return self.origin.is_of_another or self.origin.was_replaced

    @property
    def data(self) -> Namespace:
        """The collection of a server that holds its documents: for a time series its buckets."""
        return data_namespace(self.namespace, self.kind)


@dataclass(frozen=True, slots=True)
class Consistency:
    """The way in which the documents of a backup relate in time."""

    mode: str
    """One of `fastdump.model.CONSISTENCIES`, except `auto`."""
    moment: datetime | None = None
    """The second, in UTC, that all documents are of; None if they are of different moments."""
    cluster_time: ClusterTime | None = None
    """The exact moment, if the server counts its operations."""
    exceptions: tuple[str, ...] = ()
    """Collections whose documents are of a later moment, which the server cannot show earlier."""

    def __str__(self) -> str:
        if self.moment is None:
            return self.mode
        but = f" but for {len(self.exceptions)}" if self.exceptions else ""
        return f"{self.mode}, {self.moment.astimezone():%Y-%m-%d %H:%M:%S}{but}"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup, as it can be listed and restored."""

    name: str
    path: Location
    taken: datetime
    """The naive local time that its folder is named after."""
    made: datetime
    """When it was made, with a time zone: by this, backups are older or newer than others."""
    collections: tuple[StoredCollection, ...]
    """The collections in its folder, without those of which only the latest copy is kept."""
    has_manifest: bool
    layout: str = LAYOUTS[0]
    databases: tuple[str, ...] = ()
    """The databases that it is of, as far as it says."""
    server_version: str | None = None
    started: datetime | None = None
    """When it began."""
    oplog: StoredCollection | None = None
    """The operations that happened while it was made, if they were kept."""
    consistency: Consistency | None = None
    sealed_bytes: int | None = None
    """Size of its pieces if it is encrypted and there is no key to it: then nothing but its name,
    its age and this is known. Its `databases` is a word that only tells databases apart."""
    added_bytes: int | None = None
    """Number of its bytes that no older backup of the repository has; None if nothing is shared."""

    @property
    def file_bytes(self) -> int:
        """Size of its files, or of its pieces, also of those that others share."""
        if self.sealed_bytes is not None:
            return self.sealed_bytes
        return sum(collection.file_bytes for collection in self.collections)

    @property
    def documents(self) -> int | None:
        """Number of documents; None if the manifest is missing, or cannot be read."""
        if not self.has_manifest or self.sealed_bytes is not None:
            return None
        return sum(collection.contents.documents or 0 for collection in self.collections)


@dataclass(frozen=True, slots=True)
class FileRange:
    """A range of bytes of a file with documents, and the form that they have there."""

    path: Path
    offset: int
    file_bytes: int
    members: int | None = None
    """Number of its whole gzip members; None if the file is not made of members whose lengths
    are known."""
    encoding: Encoding = Encoding.BSON
    compressed: bool = True
    """True if the file is gzip, and not simply documents."""
    pieces: tuple[Piece, ...] = ()
    """In a repository: the pieces that are read, instead of the bytes of a file."""

    @property
    def is_foreign(self) -> bool:
        """True if it is a whole gzip file, which cannot be read in parts."""
        return self.compressed and self.members is None


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a file that one worker restores or verifies in one go."""

    namespace: Namespace
    target: Namespace
    """The collection that its documents are written to: for a time series its buckets."""
    place: FileRange
    number: int = 0
    """The place of this segment among those of its file, from 0."""
    segments: int = 1
    """Number of segments of the file. Those of JSON lines take turns: each worker reads the whole
    file, and keeps one block of lines of every so many."""
    documents: int | None = None
    raw_bytes: int = 0
    """Size of its documents, an estimate where members are not known."""
    ordered: bool = False
    """True if its documents must be loaded in their order."""
    is_of_collection: bool = True
    """The same as that of the stored collection."""

    def __str__(self) -> str:
        return f"part {self.number + 1} of {self.place.path.name}"
