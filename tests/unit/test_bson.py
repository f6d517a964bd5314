from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from hypothesis import given
from hypothesis import strategies as st

from fastdump.codec.bson import (
    MAX_DOCUMENT_BYTES,
    count_in_array,
    document,
    element,
    elements,
    id_element,
    reframe,
    spans,
    split,
)
from fastdump.errors import FormatError

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20).map(lambda data: Binary(data, 0)),
    st.uuids().map(Binary.from_uuid),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1)),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.sampled_from([MinKey(), MaxKey(), Regex("^a", "im"), Code("x"), Code("x", {"y": 1})]),
    st.just(Decimal128("1.5")),
    st.builds(DBRef, st.text("ab", max_size=3), st.integers(0, 9)),
)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)
documents = st.dictionaries(names, values, max_size=4)
runs = st.lists(documents, max_size=5)


def run_of(found: list[dict[str, Any]]) -> bytes:
    return b"".join(map(bson.encode, found))


@given(runs)
def test_spans_are_where_the_documents_lie(found: list[dict[str, Any]]) -> None:
    encoded = [bson.encode(one) for one in found]
    run = b"".join(encoded)
    assert [run[start:end] for start, end in spans(run)] == encoded


@given(documents)
def test_elements_are_those_that_a_decoder_finds(found: dict[str, Any]) -> None:
    raw = bson.encode(found)
    seen = list(elements(raw))
    # The encoder puts an _id first.
    assert [one.name.decode() for one in seen] == sorted(found, key=lambda name: name != "_id")
    for one in seen:
        assert bson.decode(document(raw[one.start : one.end])) == bson.decode(
            bson.encode({one.name.decode(): found[one.name.decode()]})
        )


@given(values, documents, st.booleans())
def test_id_element_wherever_it_stands(identity: object, rest: dict[str, Any], first: bool) -> None:
    rest.pop("_id", None)
    whole = {"_id": identity, **rest} if first else {**rest, "_id": identity}
    run = run_of([{"x": 1}, whole])
    found = id_element(run, spans(run)[1])
    assert found is not None
    assert document(found) == bson.encode({"_id": identity})


def test_no_id_element() -> None:
    run = run_of([{"x": 1}])
    assert id_element(run, (0, len(run))) is None
    assert element(run, b"y") is None


@given(st.integers(0, 3000), st.integers(0, 40))
def test_an_arrays_length_says_how_many_documents_it_holds(count: int, size: int) -> None:
    one = {"x": "y" * size}
    array = bson.encode({str(number): one for number in range(count)})
    assert count_in_array(len(array), count * len(bson.encode(one))) == count


@pytest.mark.parametrize("count", [9, 10, 11, 99, 100, 101, 999, 1000, 1001, 9999, 10000, 100000])
def test_counts_where_the_digits_change(count: int) -> None:
    array = bson.encode({str(number): {} for number in range(count)})
    assert count_in_array(len(array), count * 5) == count


def test_an_impossible_count_is_refused() -> None:
    with pytest.raises(FormatError):
        count_in_array(100, 93)


@given(runs, st.integers(1, 200), st.integers(1, 5))
def test_split_keeps_every_document_within_its_limits(
    found: list[dict[str, Any]], max_bytes: int, max_documents: int
) -> None:
    run = run_of(found)
    pieces = list(split(run, max_bytes, max_documents))
    assert b"".join(run[start:end] for start, end, _spans in pieces) == run
    for start, end, inside in pieces:
        assert len(inside) <= max_documents
        assert end - start <= max_bytes or len(inside) == 1


@given(runs, st.lists(st.integers(1, 300), min_size=1))
def test_reframe_undoes_any_cutting(found: list[dict[str, Any]], cuts: list[int]) -> None:
    run = run_of(found)
    pieces, position = [], 0
    for size in cuts * (len(run) + 1):
        if position >= len(run):
            break
        pieces.append(run[position : position + size])
        position += size
    batches = list(reframe(pieces))
    assert b"".join(batch.data for batch in batches) == run
    assert sum(batch.documents for batch in batches) == len(found)
    for batch in batches:
        assert len(spans(batch.data)) == batch.documents


@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_refused_or_framed_but_never_crashes(garbage: bytes) -> None:
    for read in (spans, lambda data: list(elements(data)), lambda data: list(reframe([data]))):
        with suppress(FormatError):
            read(garbage)


@pytest.mark.parametrize("length", [-1, 0, 4, MAX_DOCUMENT_BYTES + 1, 2**31 - 1])
def test_impossible_lengths_name_their_place(length: int) -> None:
    good = bson.encode({"x": 1})
    bad = good + length.to_bytes(4, "little", signed=True) + b"\0" * 20
    with pytest.raises(FormatError, match=f"byte {len(good)} "):
        spans(bad)
    with pytest.raises(FormatError, match=f"byte {len(good)}"):
        list(reframe([bad]))


def test_a_document_without_its_last_zero_is_refused() -> None:
    raw = bson.encode({"x": 1})[:-1] + b"\1"
    for read in (spans, lambda data: list(reframe([data]))):
        with pytest.raises(FormatError, match="zero"):
            read(raw)


def test_element_types_are_all_known() -> None:
    whole = {
        "_id": uuid.UUID(int=5).bytes,
        "int32": 1,
        "int64": Int64(1),
        "date": datetime(2020, 1, 1, tzinfo=UTC),
        "scoped": Code("f", {"a": 1}),
    }
    raw = bson.encode(whole)
    assert [one.name.decode() for one in elements(raw)] == list(whole)
    # The deprecated types that no encoder writes any more: undefined, symbol, DBPointer.
    old = document(b"\x06u\0", b"\x0es\0\x02\0\0\0a\0", b"\x0cd\0\x02\0\0\0a\0" + b"x" * 12)
    assert [one.name for one in elements(old)] == [b"u", b"s", b"d"]
