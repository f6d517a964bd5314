"""What is known of a server: how to reach it, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from fastdump.model.names import CONSISTENCIES, DEFAULT_MAX_LOCK_SECONDS, DEFAULT_RETRY_SECONDS

__all__ = [
    "BUCKETS",
    "NO_OPTIONS",
    "OPLOG",
    "Bson",
    "Catalog",
    "ClusterTime",
    "Collection",
    "CollectionKind",
    "Connection",
    "Definition",
    "ExtendedJson",
    "Namespace",
    "ReadOptions",
    "Selection",
    "ServerInfo",
    "data_namespace",
]

BUCKETS = "system.buckets."
"""What the names of collections begin with that hold the data of time series."""

Bson = bytes
"""One BSON document: what options and indexes travel as."""

NO_OPTIONS: Bson = b"\5\0\0\0\0"
"""The empty document: the options of an ordinary collection."""

ExtendedJson = str
"""The text of a value in canonical Extended JSON v2, for people."""


class Namespace(NamedTuple):
    """The full name of a collection."""

    database: str
    collection: str

    def __str__(self) -> str:
        return f"{self.database}.{self.collection}" if self.database else self.collection


class ClusterTime(NamedTuple):
    """A moment of a replica set or sharded cluster: that of one operation in its oplog."""

    seconds: int
    """Since 1970, UTC."""
    increment: int
    """The operation's place among those of that second, from 1."""

    def __str__(self) -> str:
        return f"{self.seconds}:{self.increment}"

    @property
    def moment(self) -> datetime:
        """The second, as a time of UTC."""
        return datetime.fromtimestamp(self.seconds, UTC)


OPLOG = Namespace("", "oplog")
"""What a backup calls the operations that happened while it was made, as mongodump does."""


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
    options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)
    """Further ones of a connection string, which win over those that are in it."""
    read_preference: str | None = None
    """A mode, or a JSON object with mode, tagSets and maxStalenessSeconds; None is the URI's."""
    member: str | None = None
    """The only host to talk to, of those that the URI leads to."""
    retry_seconds: float = DEFAULT_RETRY_SECONDS
    """For how long to try again when the server goes away."""


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


class Definition(Protocol):
    """What is needed to make a collection, wherever it was described."""

    @property
    def namespace(self) -> Namespace:
        """Its name."""

    @property
    def data(self) -> Namespace:
        """What holds its documents on the server: for a time series, its buckets."""

    @property
    def kind(self) -> CollectionKind:
        """What it is."""

    @property
    def options(self) -> Bson:
        """What `create` takes."""

    @property
    def indexes(self) -> tuple[Bson, ...]:
        """What `createIndexes` takes."""

    @property
    def uuid(self) -> str | None:
        """The server's own name for it, 32 hexadecimal digits, where it is known."""

    @property
    def file_bytes(self) -> int:
        """Size of its file; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as the catalog of a server describes it."""

    database: str
    name: str
    kind: CollectionKind
    options: Bson
    indexes: tuple[Bson, ...]
    """Every index but the one on `_id`, which the server makes by itself."""
    documents: int
    """An estimate: the server's own count may be off after a crash."""
    raw_bytes: int
    """An estimate of the size of all documents as BSON."""
    capped: bool = False
    """A capped collection's meaning is its order, so it is never cut."""
    uuid: str | None = None
    """The server's own name for it, 32 hexadecimal digits, where it has one."""
    query: bytes | None = None
    """BSON of the filter that its documents must pass; None for all."""
    read_from: Namespace | None = None
    """Where its documents are read, if not where they are held: a view, or the users of all."""

    @property
    def namespace(self) -> Namespace:
        """Its full name."""
        return Namespace(self.database, self.name)

    @property
    def file_bytes(self) -> int:
        """A collection on a server has no file."""
        return 0

    @property
    def has_data(self) -> bool:
        """Whether there are documents to keep: a view has none of its own."""
        return self.kind is not CollectionKind.VIEW

    @property
    def data(self) -> Namespace:
        """What holds its documents on the server."""
        return data_namespace(self.namespace, self.kind)


def data_namespace(namespace: Namespace, kind: CollectionKind) -> Namespace:
    """What holds the documents of a collection: a time series lives in its buckets."""
    if kind is CollectionKind.TIMESERIES:
        return namespace._replace(collection=f"{BUCKETS}{namespace.collection}")
    return namespace


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a server holds, or one of its databases, by name."""

    database: str | None
    """The one that was asked for; None for all."""
    server: ServerInfo
    collections: tuple[Collection, ...]
    notes: tuple[str, ...] = ()
    """What the user should know of it."""

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of all documents as BSON."""
        return sum(collection.raw_bytes for collection in self.collections)


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a server is meant."""

    database: str | None
    """None is all but the server's own."""
    collections: tuple[str, ...] = ()
    """Patterns of the names of those that are wanted; none means all."""
    exclude: tuple[str, ...] = ()
    """Patterns of those that are not."""
    query: bytes | None = None
    """BSON of a filter for the documents of the only collection."""
    views_as_collections: bool = False
    """Only views are meant, and what they show."""
    users_and_roles: bool = False
    """The users and roles of that database too, or of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What the user wants of the way in which a server is read."""

    consistency: str = CONSISTENCIES[0]
    """One of `CONSISTENCIES`."""
    raise_snapshot_window: bool = False
    """Have the server keep its history for as long as it takes to read it."""
    max_lock_seconds: float | None = DEFAULT_MAX_LOCK_SECONDS
    """For how long to keep others from writing, at most; None is as long as it takes."""
    max_rate: float | None = None
    """How many megabytes of documents may be read in a second; None is no limit."""
