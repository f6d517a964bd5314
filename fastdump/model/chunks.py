"""Chunks: the parts of collections that workers read in one go, and where collections are cut."""

from __future__ import annotations

from dataclasses import dataclass

from fastdump.model.server import BUCKETS, ClusterTime, Namespace

__all__ = ["Bounds", "Chunk", "ChunkSource", "Range"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The places where a collection is cut: record ids, or `_id`s (BSON of `{_id: bound}`)."""

    records: tuple[int, ...] = ()
    ids: tuple[bytes, ...] = ()
    by_filter: bool = False
    """True if the server ignores `min` and `max`, so that `ids` must be sent in a filter; all of
    them are of one BSON type then."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of the documents of a collection.

    Without any bound it is the whole collection, read as the server sees fit. With `after` or
    `until` it is a range of record ids, in storage order. With `lower` or `upper` it is a range of
    `_id`s, in the server's order of all BSON types; without `upper` it reaches to the end, MaxKey
    included.
    """

    after: int | None = None
    """A record id, exclusive."""
    until: int | None = None
    """A record id, inclusive."""
    lower: bytes | None = None
    """BSON of `{_id: bound}`, inclusive."""
    upper: bytes | None = None
    """BSON of `{_id: bound}`, exclusive."""

    @property
    def is_by_record(self) -> bool:
        """True if it is a range of record ids."""
        return self.after is not None or self.until is not None

    @property
    def is_whole(self) -> bool:
        """True if it is the whole collection, uncut."""
        return not self.is_by_record and self.lower is None and self.upper is None

    def __str__(self) -> str:
        if self.is_by_record:
            return "by record"
        return "whole" if self.is_whole else "by _id"


@dataclass(frozen=True, slots=True)
class ChunkSource:
    """The place that the documents of a chunk are read from, and the way they are read.

    It is the same for all chunks of a collection.
    """

    namespace: Namespace
    """The collection or view that is read: for a time series its buckets."""
    document_bytes: int = 0
    """An estimate of the size of one document, by which batches are sized."""
    query: bytes | None = None
    """BSON of the filter that documents must pass; None for all."""
    by_filter: bool = False
    """True if `lower` and `upper` are sent in a filter, to a server that ignores `min` and `max`.
    Both are of one BSON type then, and the first chunk has every document that is not from its
    `upper` on, also those with `_id`s of other types."""
    is_view: bool = False
    """True if the documents are those that a view shows."""
    committed: bool = False
    """True if to read only what a majority of a replica set has, which nothing can undo."""
    at: ClusterTime | None = None
    """The moment at which the documents are read; None is now, whenever that is."""
    uuid: str | None = None
    """The UUID that the server must know the collection by, 32 hexadecimal digits. It is asked for
    only if the collection is read at a moment: one that was dropped since looks empty otherwise."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a collection that one worker fetches in one go."""

    namespace: Namespace
    """The collection, by the name that it has in the backup or on the target."""
    source: ChunkSource
    range: Range = Range()
    number: int = 0
    """The place of this chunk among those of its collection, from 0."""
    chunks: int = 1
    """Number of chunks of its collection."""
    raw_bytes: int = 0
    """An estimate of the size of its documents."""

    @property
    def target(self) -> Namespace:
        """The collection that its documents are written to: for a time series its buckets."""
        if self.source.namespace.collection.startswith(BUCKETS):
            return self.namespace._replace(collection=f"{BUCKETS}{self.namespace.collection}")
        return self.namespace

    @property
    def can_be_entered(self) -> bool:
        """True if reading can go on in the middle of it, after the last document that was seen."""
        return not (self.range.is_whole or self.source.by_filter)

    def __str__(self) -> str:
        return f"part {self.number + 1} of {self.chunks} of {self.namespace}"
