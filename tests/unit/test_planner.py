from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdump.engine.planner import CHUNK_BYTES, cut, pieces, plan, use_processes
from fastdump.model import (
    NO_OPTIONS,
    Bounds,
    Catalog,
    Chunk,
    Collection,
    CollectionKind,
    Namespace,
    Range,
    ServerInfo,
)

MEGABYTE = 1_000_000


def collection(
    name: str = "c",
    raw_bytes: int = 0,
    kind: CollectionKind = CollectionKind.COLLECTION,
    *,
    capped: bool = False,
) -> Collection:
    return Collection("db", name, kind, NO_OPTIONS, (), raw_bytes // 1000, raw_bytes, capped)


def catalog(*collections: Collection) -> Catalog:
    return Catalog("db", ServerInfo("h", "6.0.5", "standalone"), collections)


def holds(chunk: Chunk, identity: bytes) -> bool:
    """What `min` (inclusive) and `max` (exclusive) select, for ids that sort as bytes do."""
    return (chunk.range.lower is None or chunk.range.lower <= identity) and (
        chunk.range.upper is None or identity < chunk.range.upper
    )


identities = st.binary(min_size=1, max_size=3)


@given(st.sets(identities), st.sets(identities))
def test_chunks_hold_every_id_exactly_once(ids: set[bytes], bounds: set[bytes]) -> None:
    chunks = cut(collection(), Bounds(ids=tuple(sorted(bounds))))
    assert [chunk.number for chunk in chunks] == list(range(len(bounds) + 1))
    for identity in ids:
        assert sum(holds(chunk, identity) for chunk in chunks) == 1


@given(st.sets(st.integers(1, 500)), st.sets(st.integers(1, 500)))
def test_chunks_hold_every_record_exactly_once(records: set[int], bounds: set[int]) -> None:
    chunks = cut(collection(), Bounds(records=tuple(sorted(bounds))))
    assert len(chunks) == len(bounds) + 1
    for record in records:
        holding = [
            chunk
            for chunk in chunks
            if (chunk.range.after is None or chunk.range.after < record)
            and (chunk.range.until is None or record <= chunk.range.until)
        ]
        assert len(holding) == 1


@given(st.lists(st.integers(0, 5000), max_size=8), st.integers(1, 16))
def test_a_plan_is_longest_first_and_complete(megabytes: list[int], workers: int) -> None:
    collections = [collection(f"c{n}", size * MEGABYTE) for n, size in enumerate(megabytes)]
    chunks = plan(
        catalog(*collections),
        workers,
        lambda wanted: [Bounds(records=tuple(range(1, count))) for _one, count in wanted],
    )
    sizes = [chunk.raw_bytes for chunk in chunks]
    assert sizes == sorted(sizes, reverse=True)
    for found in collections:
        numbers = [chunk.number for chunk in chunks if chunk.namespace == found.namespace]
        assert numbers == list(range(len(numbers)))
        assert numbers


@given(st.integers(0, 200_000), st.integers(1, 16))
def test_chunks_are_neither_large_nor_idle(megabytes: int, workers: int) -> None:
    total = megabytes * MEGABYTE
    count = pieces(collection(raw_bytes=total), total, workers)
    assert total / count <= 1.5 * CHUNK_BYTES
    if total >= workers * 4 * 16 * MEGABYTE:
        assert count >= workers * 4


@pytest.mark.parametrize(
    "whole",
    [
        collection(raw_bytes=10**10, capped=True),
        collection(raw_bytes=10**10, kind=CollectionKind.VIEW),
        collection(raw_bytes=10**6),
    ],
)
def test_what_is_never_cut(whole: Collection) -> None:
    assert pieces(whole, 10**10, 4) == 1


def test_a_view_has_no_chunk_and_a_time_series_is_read_from_its_buckets() -> None:
    chunks = plan(
        catalog(
            collection("v", kind=CollectionKind.VIEW),
            collection("t", kind=CollectionKind.TIMESERIES),
        ),
        2,
        lambda wanted: [Bounds()] * len(wanted),
    )
    (chunk,) = chunks
    buckets = Namespace("db", "system.buckets.t")
    assert chunk.namespace == Namespace("db", "t")
    assert (chunk.source.namespace, chunk.target) == (buckets, buckets)


def test_where_the_server_cannot_sample_a_collection_is_read_whole() -> None:
    (chunk,) = plan(catalog(collection(raw_bytes=10**9)), 4, lambda _wanted: [Bounds()])
    assert chunk.range == Range()


def test_a_small_database_starts_no_process() -> None:
    assert not use_processes(MEGABYTE)
    assert not use_processes(MEGABYTE, 20)
    assert use_processes(1000 * MEGABYTE)
    assert use_processes(MEGABYTE, 2000)
