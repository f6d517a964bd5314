"""What travels between rooms and processes: small, frozen and picklable, never documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

__all__ = [
    "DEFAULT_DATABASE",
    "LAYOUTS",
    "Backup",
    "Bounds",
    "Catalog",
    "Chunk",
    "Collection",
    "CollectionKind",
    "Connection",
    "Definition",
    "Encoding",
    "ExtendedJson",
    "Loaded",
    "Losses",
    "Member",
    "Part",
    "Rejection",
    "Segment",
    "ServerInfo",
    "StoredCollection",
]

DEFAULT_DATABASE = "komodo"
"""What is meant where no database is named."""

LAYOUTS = ("komodo", "komodo-json", "mongodump")
"""How a backup may be written."""

ExtendedJson = str
"""The text of a JSON value in canonical Extended JSON v2: what options and indexes travel as."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a server. Neither its repr nor `shown` ever gives a password away."""

    uri: str = field(repr=False)
    shown: str
    """The address as it may be printed: no user, no password, no options."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    app_name: str | None = None
    """What the server's log should call this client; by default fastdump and its version."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server that a backup was read from."""

    address: str
    version: str
    topology: str
    """`standalone`, `replica set` or `sharded cluster`."""


class CollectionKind(StrEnum):
    """What the server calls the type of a collection."""

    COLLECTION = "collection"
    VIEW = "view"
    TIMESERIES = "timeseries"


class Encoding(StrEnum):
    """How the documents of a file are written."""

    BSON = "bson"
    JSON = "json"
    """One line of Extended JSON for each, as Komodo's own backup writes them."""


class Definition(Protocol):
    """What is needed to make a collection, wherever it was described."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def kind(self) -> CollectionKind:
        """What it is."""

    @property
    def options(self) -> ExtendedJson:
        """What `create` takes."""

    @property
    def indexes(self) -> tuple[ExtendedJson, ...]:
        """What `createIndexes` takes."""

    @property
    def data_name(self) -> str:
        """The collection on the server that holds its documents."""

    @property
    def file_bytes(self) -> int:
        """Size of its file; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as the catalog of a server describes it."""

    name: str
    kind: CollectionKind
    options: ExtendedJson
    indexes: tuple[ExtendedJson, ...]
    """Every index but the one on `_id`, which the server makes by itself."""
    documents: int
    """An estimate: the server's own count may be off after a crash."""
    raw_bytes: int
    """An estimate of the size of all documents as BSON."""
    capped: bool = False
    """A capped collection's meaning is its order, so it is never cut."""
    uuid: str | None = None
    """The server's own name for it, 32 hexadecimal digits, where it has one."""

    @property
    def file_bytes(self) -> int:
        """A collection on a server has no file."""
        return 0

    @property
    def has_data(self) -> bool:
        """Whether there are documents to keep: a view has none of its own."""
        return self.kind is not CollectionKind.VIEW

    @property
    def data_name(self) -> str:
        """The collection on the server that holds the documents."""
        return data_name(self.name, self.kind)


def data_name(name: str, kind: CollectionKind) -> str:
    """The collection that holds the documents of `name`: a time series lives in its buckets."""
    return f"system.buckets.{name}" if kind is CollectionKind.TIMESERIES else name


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a database holds, by name."""

    database: str
    server: ServerInfo
    collections: tuple[Collection, ...]

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of all documents as BSON."""
        return sum(collection.raw_bytes for collection in self.collections)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where to cut a collection: at record ids, or at `_id`s (BSON of `{_id: bound}`)."""

    records: tuple[int, ...] = ()
    ids: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """One part of one collection, fetched by one worker in one go.

    Without any bound it is the whole collection, read in storage order. With `after` or `until` it
    is the records after the one and up to the other, in storage order. With `lower` or `upper` it
    is the `_id`s from the one on and below the other, in the server's order of all BSON types;
    where there is no `upper` it reaches to the end, MaxKey included.
    """

    collection: str
    source: str
    """The collection on the server that is read, which for a time series is its buckets."""
    number: int
    """The place of this chunk among those of its collection, from 0."""
    raw_bytes: int
    """An estimate of the size of its documents."""
    document_bytes: int
    """An estimate of the size of one document, by which batches are sized."""
    lower: bytes | None = None
    """BSON of `{_id: bound}`, inclusive."""
    upper: bytes | None = None
    """BSON of `{_id: bound}`, exclusive."""
    after: int | None = None
    """A record id, exclusive."""
    until: int | None = None
    """A record id, inclusive."""

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole collection, in storage order."""
        bounds = (self.after, self.until, self.lower, self.upper)
        return all(bound is None for bound in bounds)

    @property
    def how(self) -> str:
        """How it is read, for people."""
        if self.after is not None or self.until is not None:
            return "by record"
        return "whole" if self.is_whole else "by _id"

    def __str__(self) -> str:
        return f"part {self.number + 1} of {self.collection}"


@dataclass(frozen=True, slots=True)
class Losses:
    """What JSON lines could not carry of the documents of a part."""

    inexact: int
    """Documents that do not come back exactly as they were."""
    first: str | None
    """The `_id` of the first of them."""
    other_ids: int
    """Documents whose `_id` is no ObjectId, which Komodo's own restore skips."""


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk on disk: a run of gzip members, or for JSON lines a piece of one member."""

    path: Path
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
    options: ExtendedJson = "{}"
    indexes: tuple[ExtendedJson, ...] = ()
    documents: int | None = None
    raw_bytes: int | None = None
    digest: str | None = None
    latest_only: bool = False
    database: str | None = None
    """The one that it was read from, as far as a manifest says."""

    @property
    def data_name(self) -> str:
        """The collection on the server that holds the documents."""
        return data_name(self.name, self.kind)


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup in a folder of backups, as it can be listed and restored."""

    name: str
    path: Path
    taken: datetime
    """Local time, naive: what the folder is named after."""
    collections: tuple[StoredCollection, ...]
    """What lies in the folder itself, without the collections of which only the latest is kept."""
    has_manifest: bool
    database: str | None = None
    server_version: str | None = None
    consistency: str | None = None

    @property
    def file_bytes(self) -> int:
        """Size of its files on disk."""
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

    collection: str
    target: str
    """The collection on the server that is written, which for a time series is its buckets."""
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

    @property
    def is_foreign(self) -> bool:
        """Whether it is a whole gzip file, which nobody else can read a part of."""
        return self.compressed and self.members is None

    def __str__(self) -> str:
        return f"part {self.number + 1} of {self.path.name}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A document that could not be written, and why."""

    collection: str
    document: str
    """Its `_id`, or the line of the file where it should have been."""
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the documents of a segment or a chunk."""

    documents: int
    raw_bytes: int
    seconds: float
    """How long a worker was busy with it."""
    inserted: int
    replaced: int
    """Documents that the target held under the same `_id` with other content."""
    unchanged: int
    """Documents that the target held already, byte for byte."""
    rejected: int
    rejections: tuple[Rejection, ...]
    """The first few of them."""
    damage: str | None = None
    """Why the file could not be read to its end."""
