"""Plan into which chunks the collections of a catalog are cut.

These functions are pure, so that a plan can be printed and tested without a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from fastdump.model import Bounds, Catalog, Chunk, ChunkSource, Collection, Range

__all__ = ["CHUNK_BYTES", "cut", "pieces", "plan", "use_processes"]

CHUNK_BYTES = 32 * 1024 * 1024
"""Wanted size of a chunk, in bytes of BSON: so large that its query costs little in comparison."""

MIN_CHUNK_BYTES = 8 * 1024 * 1024
"""Least size of a chunk, in bytes of BSON: a smaller one is not worth a query."""

CHUNKS_PER_WORKER = 4
"""Least number of chunks for each worker, if the data allows, so that all end at about one time."""

INLINE_BYTES = 64 * 1024 * 1024
"""Size, in bytes of BSON, below which the work is done before a process would have started."""

MANY = 500
"""Number of collections from which on processes are worth starting, however small they are."""

Finder = Callable[[Sequence[tuple[Collection, int]]], Sequence[Bounds]]
"""A function that finds, for each collection, the bounds to cut it into about so many chunks."""


def use_processes(raw_bytes: int, collections: int = 0) -> bool:
    """Return True if so many bytes of documents, or collections, are worth starting processes."""
    return raw_bytes >= INLINE_BYTES or collections >= MANY


def pieces(collection: Collection, total_bytes: int, workers: int) -> int:
    """Return the number of chunks that a collection should be cut into; 1 leaves it whole.

    Args:
        collection: the collection.
        total_bytes: the size of all documents of the backup, in bytes of BSON.
        workers: the number of processes that share the work, times the chunks that each of them
            fetches at a time.
    """
    if not collection.has_data or collection.capped:
        return 1
    fair = total_bytes // (max(workers, 1) * CHUNKS_PER_WORKER)
    target = min(CHUNK_BYTES, max(MIN_CHUNK_BYTES, fair))
    return max(1, round(collection.raw_bytes / target))


def cut(collection: Collection, bounds: Bounds) -> list[Chunk]:
    """Return the chunks between those bounds; the first has no lower bound, the last no upper."""
    count = 1 + len(bounds.records or bounds.ids)
    source = ChunkSource(
        namespace=collection.read_from or collection.data,
        document_bytes=collection.raw_bytes // max(collection.documents, 1),
        query=collection.query,
        by_filter=bounds.by_filter,
        is_view=collection.read_from == collection.namespace,
    )
    return [
        Chunk(collection.namespace, source, part, number, count, collection.raw_bytes // count)
        for number, part in enumerate(_ranges(bounds))
    ]


def _ranges(bounds: Bounds) -> Iterator[Range]:
    if bounds.records:
        for after, until in pairwise((None, *bounds.records, None)):
            yield Range(after=after, until=until)
        return
    for lower, upper in pairwise((None, *bounds.ids, None)):
        yield Range(lower=lower, upper=upper)


def plan(catalog: Catalog, workers: int, find_bounds: Finder) -> list[Chunk]:
    """Return the chunks of all collections that have data, the largest first.

    Chunks of one collection stay in order, so that its file can be joined while others are read.
    """
    held = [one for one in catalog.collections if one.has_data]
    total_bytes = catalog.raw_bytes
    counts = {one.namespace: pieces(one, total_bytes, workers) for one in held}
    large = [(one, counts[one.namespace]) for one in held if counts[one.namespace] > 1]
    bounds = {
        collection.namespace: found
        for (collection, _count), found in zip(large, find_bounds(large), strict=True)
    }
    chunks = [chunk for one in held for chunk in cut(one, bounds.get(one.namespace, Bounds()))]
    return sorted(chunks, key=lambda chunk: (-chunk.raw_bytes, chunk.namespace, chunk.number))
