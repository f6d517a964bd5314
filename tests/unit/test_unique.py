"""Documents with one `_id` are found, all of them and no others, however little memory there is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from fastdump.engine.verify import duplicate_ids as unique
from fastdump.engine.verify.duplicate_ids import (
    Block,
    Keys,
    KeyWriter,
    Met,
    Watch,
    compare,
    doubled,
    shares,
)
from fastdump.model import Namespace

A, B = Namespace("db", "a"), Namespace("db", "b")

ids = st.one_of(
    st.integers(0, 40), st.integers(0, 40).map(float), st.integers(0, 40).map(Int64),
    st.sampled_from(["", "x", None, True, ObjectId(b"0" * 12), {"a": 1}, {"a": 1.0}]),
)  # fmt: skip
runs = st.lists(st.tuples(st.sampled_from([A, B]), st.lists(ids, max_size=60)), max_size=6)


@pytest.fixture
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "_BLOCK_KEYS", 20)
    monkeypatch.setattr(unique, "_SHARE_KEYS", 5)
    monkeypatch.setattr(unique, "_PIECE_KEYS", 3)


def run_of(found: list[Any]) -> bytes:
    return b"".join(bson.encode({"_id": one, "x": "y"}) for one in found)


def found_in(parts: list[tuple[Namespace, list[Any]]]) -> dict[Namespace, tuple[int, list[str]]]:
    """How many documents have the `_id` of another, and which `_id`s these are."""
    with TemporaryDirectory() as folder:
        keys = Keys(Path(folder), (A, B))
        blocks: list[Block] = []
        for number, (name, part) in enumerate(parts):
            writer = KeyWriter(keys, keys.folder / f"{number}")
            writer.add(name, run_of(part[:7]))
            writer.add(name, run_of(part[7:]))
            blocks += writer.end()
        met = Met(Counter(), {})
        for share in shares(blocks):
            met.merge(compare(share))
    found = {}
    for number, wanted in met.keys.items():
        name = keys.names[number]
        watch = Watch(keys, wanted)
        for other, part in parts:
            if other == name:
                watch.add(name, run_of(part))
        found[name] = (met.counts[number], doubled(watch.sightings))
    return found


def expected(parts: list[tuple[Namespace, list[Any]]]) -> dict[Namespace, tuple[int, int]]:
    seen: dict[Namespace, Counter[bytes]] = {A: Counter(), B: Counter()}
    for name, part in parts:
        seen[name].update(bson.encode({"": one}) for one in part)
    return {
        name: (sum(found.values()) - len(found), sum(count > 1 for count in found.values()))
        for name, found in seen.items()
        if sum(found.values()) > len(found)
    }


@pytest.mark.usefixtures("_little_memory")
@given(runs)
def test_all_and_no_others(parts: list[tuple[Namespace, list[Any]]]) -> None:
    found = {name: (count, len(shown)) for name, (count, shown) in found_in(parts).items()}
    assert found == expected(parts)


def test_bytes_decide_not_values() -> None:
    """1 and 1.0 are one `_id` to a server, which never gives both, and two to a restore."""
    assert found_in([(A, [1, 1.0, Int64(1)]), (B, [1])]) == {}
    assert found_in([(A, [1, 2]), (A, [2, 1.0, 2])]) == {A: (2, ["2"])}


def test_digests_that_meet_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "_DIGEST_BYTES", 1)
    monkeypatch.setattr(unique, "_KEY", Struct("<1sI"))
    monkeypatch.setattr(unique, "_WHOLE_KEY", Struct("5s"))
    numbers = list(range(1000))
    (count, shown) = found_in([(A, numbers)])[A]
    assert count >= 1000 - 256, "no digests met: this proves nothing"
    assert shown == []
    assert found_in([(A, numbers), (A, [17])])[A][1] == ["17"]


def test_a_document_without_an_id(tmp_path: Path) -> None:
    writer = KeyWriter(Keys(tmp_path, (A,)), tmp_path / "0")
    writer.add(A, bson.encode({"x": 1}) * 2)
    assert writer.end() == ()


def test_what_is_written_again_is_made_anew(tmp_path: Path) -> None:
    """As the job of a worker that was killed."""
    keys = Keys(tmp_path, (A,))
    KeyWriter(keys, tmp_path / "0").add(A, run_of([1, 2]))
    for _attempt in range(2):
        writer = KeyWriter(keys, tmp_path / "0")
        writer.add(A, run_of([1, 2, 3]))
        (block,) = writer.end()
    (share,) = (one for one in shares([block]) if one.ranges)
    assert compare(share).counts == {}


def test_only_so_many_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "_MAX_MET", 10)
    count, shown = found_in([(A, list(range(500))), (A, list(range(500)))])[A]
    assert count == 500
    assert len(shown) == 10
