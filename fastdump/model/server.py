"""The knowledge about a server: how to reach it, and what it holds."""

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
"""The prefix of the names of collections that hold the data of time series."""

Bson = bytes
"""One BSON document, the form in which options and indexes travel."""

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
    """A moment of a replica set or a sharded cluster: that of one operation in its oplog."""

    seconds: int
    """Since 1970, UTC."""
    increment: int
    """The place of the operation among those of that second, from 1."""

    def __str__(self) -> str:
        return f"{self.seconds}:{self.increment}"

    @property
    def moment(self) -> datetime:
        """The second, as a time of UTC."""
        return datetime.fromtimestamp(self.seconds, UTC)


OPLOG = Namespace("", "oplog")
"""The name that a backup gives to the oplog of the time while it was made, as mongodump does."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The way to reach a server. Neither its repr nor `shown` ever contains a password."""

    uri: str = field(repr=False)
    shown: str
    """The address as it may be printed: no user, no password, no options."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    app_name: str | None = None
    """The name of this client in the server's log; by default fastdump and its version."""
    options: tuple[tuple[str, str | bool], ...] = field(default=(), repr=False)
    """Further options of a connection string, which win over those in the URI."""
    read_preference: str | None = None
    """A mode, or a JSON object with mode, tagSets and maxStalenessSeconds; None is the URI's."""
    member: str | None = None
    """The only host to talk to, one of those that the URI leads to."""
    retry_seconds: float = DEFAULT_RETRY_SECONDS
    """Time in seconds to try again when the server goes away."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The server that a backup was read from."""

    address: str
    version: str
    topology: str
    """`standalone`, `replica set` or `sharded cluster`."""


class CollectionKind(StrEnum):
    """The type of a collection, by the server's own names."""

    COLLECTION = "collection"
    VIEW = "view"
    TIMESERIES = "timeseries"


class Definition(Protocol):
    """The definition of a collection: everything that is needed to create it."""

    @property
    def namespace(self) -> Namespace:
        """Its full name."""

    @property
    def data(self) -> Namespace:
        """The collection of the server that holds its documents: for a time series its buckets."""

    @property
    def kind(self) -> CollectionKind:
        """Its type."""

    @property
    def options(self) -> Bson:
        """Its options, as the command `create` takes them."""

    @property
    def indexes(self) -> tuple[Bson, ...]:
        """Its indexes, as the command `createIndexes` takes them, without the one on `_id`."""

    @property
    def uuid(self) -> str | None:
        """The UUID that the server gave it, 32 hexadecimal digits, if it is known."""

    @property
    def file_bytes(self) -> int:
        """Size of its file; 0 if it has none."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as the catalog of a server describes it."""

    database: str
    name: str
    kind: CollectionKind
    options: Bson
    indexes: tuple[Bson, ...]
    """The indexes except the one on `_id`, which the server builds by itself."""
    documents: int
    """An estimate: the server's own count may be wrong after a crash."""
    raw_bytes: int
    """An estimate of the size of all documents as BSON."""
    capped: bool = False
    """True if it is capped. The order of a capped collection is its meaning, so it is never cut."""
    uuid: str | None = None
    """The UUID that the server gave it, 32 hexadecimal digits, if it has one."""
    query: bytes | None = None
    """BSON of the filter that its documents must pass; None for all."""
    read_from: Namespace | None = None
    """The namespace that its documents are read from, if it is another: a view, or all users."""

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
        """True if it has documents of its own, which a view has not."""
        return self.kind is not CollectionKind.VIEW

    @property
    def data(self) -> Namespace:
        """The collection of the server that holds its documents: for a time series its buckets."""
        return data_namespace(self.namespace, self.kind)


def data_namespace(namespace: Namespace, kind: CollectionKind) -> Namespace:
    """Return the collection that holds the documents: for a time series its buckets."""
    if kind is CollectionKind.TIMESERIES:
        return namespace._replace(collection=f"{BUCKETS}{namespace.collection}")
    return namespace


@dataclass(frozen=True, slots=True)
class Catalog:
    """The collections of a server, or of one of its databases, by name."""

    database: str | None
    """The database that was asked for; None for all."""
    server: ServerInfo
    collections: tuple[Collection, ...]
    notes: tuple[str, ...] = ()
    """Sentences that the user should know."""

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of all documents as BSON."""
        return sum(collection.raw_bytes for collection in self.collections)


@dataclass(frozen=True, slots=True)
class Selection:
    """The part of a server that is meant."""

    database: str | None
    """None means all databases except the server's own."""
    collections: tuple[str, ...] = ()
    """Patterns of the names of collections that are wanted; none means all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the names of collections that are not wanted."""
    query: bytes | None = None
    """BSON of a filter for the documents of the only collection."""
    views_as_collections: bool = False
    """Read only views, as collections with the documents that they show."""
    users_and_roles: bool = False
    """Read the users and roles of the database too, or those of all databases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """The way in which a server is read."""

    consistency: str = CONSISTENCIES[0]
    """One of `CONSISTENCIES`."""
    raise_snapshot_window: bool = False
    """Make the server keep its history as long as reading takes."""
    max_lock_seconds: float | None = DEFAULT_MAX_LOCK_SECONDS
    """Longest time to keep others from writing, in seconds; None is as long as it takes."""
    max_rate: float | None = None
    """Largest number of megabytes of documents to read in a second; None is no limit."""
