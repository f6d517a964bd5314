"""What a backup holds: parts while it is made, then files, members and segments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from fastdump.model.names import DEFAULT_DATABASE, LAYOUTS
from fastdump.model.places import Place
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
    "Encoding",
    "Losses",
    "Member",
    "Part",
    "Piece",
    "Segment",
    "StoredCollection",
    "ViewIds",
]


class Encoding(StrEnum):
    """How the documents of a file are written."""

    BSON = "bson"
    JSON = "json"
    """One line of Extended JSON for each, as Komodo's own backup writes them."""
    ARCHIVE = "archive"
    """BSON in blocks, each with its namespace, so that all collections share one stream."""
    PIECES = "pieces"
    """BSON in pieces that are named by their content, which the destination makes itself."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What JSON lines could not carry of the documents of a part."""

    inexact: int
    """Documents that do not come back exactly as they were, or not at all."""
    first: str | None
    """The `_id` of the first of them."""
    other_ids: int
    """Documents whose `_id` is no ObjectId, which Komodo's own restore skips."""


@dataclass(frozen=True, slots=True)
class ViewIds:
    """What of a view's documents a collection cannot hold as it is."""

    doubled: int
    """Documents with the `_id` of another."""
    without: int
    """Documents without an `_id`."""


@dataclass(frozen=True, slots=True)
class ArchivedBlock:
    """A block that was written into an archive."""

    place: int
    """Larger for what comes later."""
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
    """Whether it was put there by the backup that is being made."""


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk as it was written: gzip members, or for JSON lines a piece of one member."""

    documents: int
    raw_bytes: int
    file_bytes: int
    seconds: float
    """How long a worker was busy with it."""
    member_digests: bytes = b""
    """The BLAKE3 of each member's bytes, 32 bytes each, in the order of the file."""
    text_crc: int = 0
    """The CRC-32 of its JSON lines."""
    text_bytes: int = 0
    """The length of its JSON lines."""
    losses: Losses | None = None
    ids: ViewIds | None = None
    """Where it is all that a view shows."""
    blocks: tuple[ArchivedBlock, ...] = ()
    """Those that it became in an archive."""
    digest: str = ""
    """The hexadecimal BLAKE3 of what was written, where it is not made of members."""
    interruptions: int = 0
    """How often the server went away meanwhile."""
    first: bytes = b""
    """The BLAKE3, 16 bytes, of the first document's `_id`; nothing where there is none."""
    last: bytes = b""
    """The same of the last document."""
    pieces: tuple[Piece, ...] = ()
    """Those that it became in a repository."""


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member of a backup file: some whole documents."""

    offset: int
    file_bytes: int
    """Length of the member in the file, header and trailer included."""
    raw_bytes: int
    documents: int


@dataclass(frozen=True, slots=True)
class StoredCollection:
    """A collection as a backup holds it.

    `documents`, `raw_bytes` and `digest` are what the manifest says; without a readable manifest
    they are None, and options and indexes are unknown.
    """

    name: str
    kind: CollectionKind
    path: Path | None
    """The file with its documents; None for a view."""
    file_bytes: int
    options: Bson = NO_OPTIONS
    indexes: tuple[Bson, ...] = ()
    documents: int | None = None
    raw_bytes: int | None = None
    digest: str | None = None
    latest_only: bool = False
    is_of_another: bool = False
    """Whether the latest copy is not of this backup, but of another."""
    started: datetime | None = None
    """When the backup that wrote it began, where that is known."""
    database: str = DEFAULT_DATABASE
    """The one that it was read from, or that it goes to."""
    uuid: str | None = None
    """The server's own name for it, where it is known."""
    pieces: tuple[Piece, ...] = ()
    """Where its documents are in a repository."""

    @property
    def namespace(self) -> Namespace:
        """Its full name."""
        return Namespace(self.database, self.name)

    @property
    def is_of_collection(self) -> bool:
        """Whether a server kept it as a collection, so that each document has its own `_id`.

        What other programs wrote, and what a view showed, may have none, or one twice.
        """
        return self.documents is not None and self.uuid is not None

    @property
    def data(self) -> Namespace:
        """What holds its documents on the server."""
        return data_namespace(self.namespace, self.kind)


@dataclass(frozen=True, slots=True)
class Consistency:
    """How the documents of a backup relate in time."""

    mode: str
    """One of `fastdump.model.CONSISTENCIES`, but for `auto`."""
    moment: datetime | None = None
    """The second, of UTC, in which every document was so; None where they are of different ones."""
    cluster_time: ClusterTime | None = None
    """That moment in full, where the server counts its operations."""
    exceptions: tuple[str, ...] = ()
    """Collections that the server cannot show as they were: their documents are of later."""

    def __str__(self) -> str:
        if self.moment is None:
            return self.mode
        but = f" but for {len(self.exceptions)}" if self.exceptions else ""
        return f"{self.mode}, {self.moment.astimezone():%Y-%m-%d %H:%M:%S}{but}"


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup in a folder of backups, as it can be listed and restored."""

    name: str
    path: Place
    taken: datetime
    """Local time, naive: what the folder is named after."""
    made: datetime
    """When it was made, with its time zone: what decides which of two is older."""
    collections: tuple[StoredCollection, ...]
    """What lies in the folder itself, without the collections of which only the latest is kept."""
    has_manifest: bool
    layout: str = LAYOUTS[0]
    databases: tuple[str, ...] = ()
    """Those that it was taken of, as far as it says."""
    server_version: str | None = None
    started: datetime | None = None
    """When it began."""
    oplog: StoredCollection | None = None
    """What happened while it was made."""
    consistency: Consistency | None = None
    added_bytes: int | None = None
    """How much of it no older backup of the repository has; None where backups share nothing."""

    @property
    def file_bytes(self) -> int:
        """Size of its files, or of its pieces, also of those that others share."""
        return sum(collection.file_bytes for collection in self.collections)

    @property
    def documents(self) -> int | None:
        """Number of documents, or None where a manifest is missing."""
        if not self.has_manifest:
            return None
        return sum(collection.documents or 0 for collection in self.collections)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of whole members of one file: what one worker restores or verifies in one go.

    A file that is not made of members whose lengths are known is one segment without members.
    """

    namespace: Namespace
    target: Namespace
    """What is written: for a time series its buckets."""
    path: Path
    offset: int
    file_bytes: int
    members: int | None
    documents: int | None
    raw_bytes: int
    """Size of its documents, an estimate where members are not known."""
    number: int
    """The place of this segment among those of its file, from 0."""
    encoding: Encoding = Encoding.BSON
    segments: int = 1
    """How many segments the file has. Those of JSON lines take turns: each reads the whole file
    and takes every so-manieth block of lines."""
    compressed: bool = True
    """Whether the file is gzip, and not simply documents."""
    ordered: bool = False
    """Whether its documents must be loaded in their order."""
    is_of_collection: bool = True
    """As of the collection that it is of."""
    pieces: tuple[Piece, ...] = ()
    """Those of a repository that it is made of, instead of a run of members."""

    @property
    def is_foreign(self) -> bool:
        """Whether it is a whole gzip file, which nobody else can read a part of."""
        return self.compressed and self.members is None

    def __str__(self) -> str:
        return f"part {self.number + 1} of {self.path.name}"
