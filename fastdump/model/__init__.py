"""What travels between rooms and processes: small, frozen and picklable, never documents."""

from __future__ import annotations

from fastdump.model.loading import Loaded, LoadOptions, Rejection
from fastdump.model.names import DEFAULT_DATABASE, DEFAULT_RETRY_SECONDS, KEEPS_DATABASE, LAYOUTS
from fastdump.model.server import (
    BUCKETS,
    Bounds,
    Catalog,
    Chunk,
    Collection,
    CollectionKind,
    Connection,
    Definition,
    ExtendedJson,
    Namespace,
    Selection,
    ServerInfo,
)
from fastdump.model.stored import (
    ArchivedBlock,
    Backup,
    Encoding,
    Losses,
    Member,
    Part,
    Segment,
    StoredCollection,
)

__all__ = [
    "BUCKETS",
    "DEFAULT_DATABASE",
    "DEFAULT_RETRY_SECONDS",
    "KEEPS_DATABASE",
    "LAYOUTS",
    "ArchivedBlock",
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
    "LoadOptions",
    "Loaded",
    "Losses",
    "Member",
    "Namespace",
    "Part",
    "Rejection",
    "Segment",
    "Selection",
    "ServerInfo",
    "StoredCollection",
]
