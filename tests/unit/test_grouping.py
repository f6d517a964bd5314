"""Jobs of several chunks: complete, in order, and shared evenly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastdump.engine.grouping import Group, grouped
from fastdump.model import Chunk, ChunkSource, Namespace

MEGABYTE = 1024 * 1024


def chunks(sizes: list[int]) -> list[Chunk]:
    return [
        Chunk(name, ChunkSource(name), raw_bytes=size)
        for name, size in ((Namespace("db", f"c{n}"), size) for n, size in enumerate(sizes))
    ]


@given(st.lists(st.integers(0, 40 * MEGABYTE), max_size=300), st.integers(1, 8), st.integers(1, 16))
def test_every_part_is_in_one_group_in_order(sizes: list[int], workers: int, at_once: int) -> None:
    parts = chunks(sizes)
    groups = grouped(parts, workers, at_once)
    assert [part for group in groups for part in group.parts] == parts
    assert all(group.parts for group in groups)
    for group in groups:
        if len(group.parts) > at_once:
            assert sum(part.raw_bytes for part in group.parts) <= 8 * MEGABYTE


def test_large_chunks_of_a_near_server_are_jobs_of_their_own() -> None:
    assert grouped(chunks([32 * MEGABYTE] * 3), 2, 1) == [
        Group((chunk,)) for chunk in chunks([32 * MEGABYTE] * 3)
    ]


def test_thousands_of_small_collections_are_few_jobs_for_all_workers() -> None:
    sizes = [len(group.parts) for group in grouped(chunks([5000] * 2000), 4, 1)]
    assert sizes == [100] * 20


def test_few_parts_are_shared_by_all_workers_however_far_the_server_is() -> None:
    assert [len(group.parts) for group in grouped(chunks([MEGABYTE * 32] * 6), 2, 16)] == [3, 3]


def test_a_job_is_named_by_its_parts() -> None:
    one, two = grouped(chunks([32 * MEGABYTE] * 2), 1, 2), grouped(chunks([32 * MEGABYTE]), 1, 2)
    assert str(one[0]) == "2 parts from part 1 of 1 of db.c0 to part 1 of 1 of db.c1"
    assert str(two[0]) == "part 1 of 1 of db.c0"
