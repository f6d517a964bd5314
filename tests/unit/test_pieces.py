from __future__ import annotations

import os
import random

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdump.codec import frames
from fastdump.codec.bson import Batch, spans
from fastdump.errors import FormatError
from fastdump.model import METHODS, Compression
from fastdump.repository import pieces
from fastdump.repository.pieces import Cutter, key_of, name_in, name_of

COMPRESSIONS = [Compression("gzip", 0), Compression("zstd", 3), *map(Compression, METHODS)]
KEY = bytes(range(32))
MB = 1024 * 1024


def make(count: int, size: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seed)
    return [
        bson.encode({"_id": n + seed * 1_000_000, "x": chance.randbytes(chance.randint(1, size))})
        for n in range(count)
    ]


def cut(documents: list[bytes], per_batch: int) -> list[bytes]:
    cutter = Cutter()
    found: list[list[Batch]] = []
    for start in range(0, len(documents), per_batch):
        group = documents[start : start + per_batch]
        found += cutter.add(Batch(b"".join(group), len(group)))
    found.append(cutter.end())
    for piece in found:
        for batch in piece:
            assert len(spans(batch.data)) == batch.documents
    return [b"".join(batch.data for batch in piece) for piece in found if piece]


@pytest.mark.parametrize(("count", "size"), [(40_000, 2_000), (3_000, 30_000), (60, 2_000_000)])
def test_cuts_do_not_depend_on_batches(count: int, size: int) -> None:
    documents = make(count, size)
    whole = cut(documents, count)
    assert b"".join(whole) == b"".join(documents)
    assert all(len(one) >= pieces._MIN_BYTES for one in whole[:-1])
    assert all(len(one) <= pieces.MAX_BYTES for one in whole)
    assert 3 * MB < len(b"".join(documents)) / len(whole) < 12 * MB
    for per_batch in (1, 7, 1000):
        assert cut(documents, per_batch) == whole


def test_cuts_are_found_again_behind_a_change() -> None:
    documents = make(100_000, 2_000)
    before = set(cut(documents, 500))
    for changed in (
        documents[1000:],
        [*documents, *make(1000, 2_000, seed=1)],
        [*documents[:5000], *make(10, 2_000, seed=2), *documents[5000:]],
        [*documents[:5000], *documents[5010:]],
    ):
        new = [one for one in cut(changed, 500) if one not in before]
        assert sum(map(len, new)) < 0.25 * len(b"".join(documents))


def test_documents_that_are_larger_than_a_piece() -> None:
    documents = [bson.encode({"_id": n, "x": b"x" * (15 * MB)}) for n in range(3)]
    assert cut(documents, 1) == documents
    small = make(2000, 2_000)
    found = cut([*small, *documents], 100)
    assert b"".join(found) == b"".join([*small, *documents])


def test_no_document_is_said() -> None:
    cutter = Cutter()
    with pytest.raises(FormatError):
        list(cutter.add(Batch(b"\xff\xff\xff\x7f" + bytes(3 * MB), 1)))
    with pytest.raises(FormatError):
        list(Cutter().add(Batch(bytes(3 * MB), 1)))


def test_a_name_is_of_the_documents_alone() -> None:
    one, other = Batch(b"ab", 1), Batch(b"cd", 1)
    assert name_of([one, other], KEY) == name_of([Batch(b"abcd", 2)], KEY)
    assert name_of([one], KEY) != name_of([one], bytes(32))
    name = name_of([one], KEY)
    assert name_in(key_of(name)) == name
    for key in ("pieces/00/12", f"pieces/{name.hex()}", f"pieces/zz/{name.hex()}", "pieces/x/.DS"):
        assert name_in(key) is None


@given(st.lists(st.binary(max_size=100), max_size=20), st.sampled_from(COMPRESSIONS))
def test_frames_come_back(values: list[bytes], compression: Compression) -> None:
    batches = [Batch(bson.encode({"x": value}), 1) for value in values]
    found = list(frames.unpack(frames.pack(batches, compression)))
    assert b"".join(one.data for one in found) == b"".join(one.data for one in batches)
    assert sum(one.documents for one in found) == len(batches)


@pytest.mark.parametrize("method", METHODS)
def test_damaged_frames_are_found(method: str) -> None:
    batches = [Batch(bson.encode({"x": os.urandom(1000)}), 1) for _ in range(4)]
    data = frames.pack(batches, Compression(method))
    with pytest.raises(FormatError):
        list(frames.unpack(data[:-1]))
    with pytest.raises(FormatError):
        list(frames.unpack(data + b"x"))
