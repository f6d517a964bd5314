"""JSON lines: whatever BSON holds comes back, and no line at all can end the reading."""

from __future__ import annotations

import json
import math
from typing import Any

import bson
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from fastdump.codec.bson import Batch
from fastdump.codec.lines import Lines, blocks, is_text
from fastdump.mongo.ejson import decode, encode

ANY_DATE: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8
).filter(lambda name: not name.startswith("$"))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    INT64.map(Int64),
    st.floats(allow_nan=False),
    st.just(math.nan),
    TEXT,
    st.binary(max_size=20),
    st.binary(max_size=20).map(lambda data: Binary(data, 0x80)),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    INT64.map(DatetimeMS),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(lambda t: Timestamp(*t)),
    st.decimals(allow_nan=False, places=3, min_value=-(10**20), max_value=10**20).map(Decimal128),
    st.just(MinKey()),
    st.just(MaxKey()),
    st.just(Regex("^a/b", "imx")),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.builds(
    lambda identity, rest: {"_id": identity} | {k: v for k, v in rest.items() if k != "_id"},
    SCALARS,
    st.dictionaries(NAMES, VALUES, max_size=6),
)


@given(st.lists(DOCUMENTS, max_size=5))
def test_what_is_written_comes_back_to_the_last_bit(documents: list[dict[str, Any]]) -> None:
    data = b"".join(map(bson.encode, documents))
    text, inexact, other_ids = encode(Batch(data, len(documents)))
    assert inexact == []
    assert other_ids == sum(type(document["_id"]) is not ObjectId for document in documents)
    assert text.count(b"\n") == len(documents)
    batch, bad = decode(Lines(text, 1))
    assert bad == []
    assert batch == Batch(data, len(documents))


@given(st.lists(st.binary(max_size=40) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["_id", "x", "$oid", "$date", "$numberLong", "$numberDouble", "$numberDecimal",
             "$binary", "$type", "$uuid", "$timestamp", "$regularExpression", "$regex", "$options",
             "$code", "$scope", "$ref", "$id", "$dbPointer", "$symbol", "$undefined", "$minKey",
             "base64", "subType", "pattern", "options", "t", "i"]
        ),
        inner,
        max_size=3,
    ),
).map(lambda value: json.dumps({"_id": 1, "x": value}).encode())))  # fmt: skip
def test_no_line_ends_the_reading(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    batch, bad = decode(Lines(text, 1))
    assert batch.documents == len(bson.decode_all(batch.data, ANY_DATE))
    filled = [line for line in text.split(b"\n") if line.strip()]
    assert batch.documents + len(bad) == len(filled)
    assert all(1 <= line.number <= text.count(b"\n") + 1 for line in bad)


SPECIAL = st.dictionaries(
    st.sampled_from(
        ["x", "$oid", "$date", "$numberLong", "$regex", "$options", "$ref", "$id", "$y"]
    ),
    SCALARS | st.sampled_from(["5", "0" * 24, "2020-01-01"]),
    max_size=3,
)  # fmt: skip


@given(st.recursive(SPECIAL, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)))
def test_whatever_does_not_come_back_is_counted(value: Any) -> None:
    raw = bson.encode({"_id": 1, "x": value})
    text, inexact, _other_ids = encode(Batch(raw, 1))
    assert inexact == ([] if decode(Lines(text, 1)).batch.data == raw else ['{"$numberInt": "1"}'])


def test_what_has_no_id_does_not_come_back() -> None:
    assert encode(Batch(bson.encode({"x": 1}), 1)).inexact == ["null"]


def test_nesting_without_end_is_no_document() -> None:
    deep = b'{"_id":1,"x":' + b"[" * 100_000
    batch, bad = decode(Lines(deep + b'\n{"_id":2}', 7))
    assert batch.documents == 1
    assert [line.number for line in bad] == [7]


@given(st.lists(st.binary(max_size=30)), st.lists(st.integers(1, 60)))
def test_lines_however_the_stream_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    text = b"".join(line + b"\n" for line in lines)
    pieces, position = [], 0
    for cut in cuts:
        pieces.append(text[position : position + cut])
        position += cut
    found = list(blocks([*pieces, text[position:]]))
    assert b"".join(block.text for block in found) == text
    number = 1
    for block in found:
        assert block.first == number
        number += block.text.count(b"\n")


def test_text_is_told_from_bson() -> None:
    assert is_text(b'{"_id":1}\n')
    assert not is_text(bson.encode({"_id": 1, "x": "y" * 200}))
    # A length of 0x7b bytes, which is what a brace is.
    assert not is_text(bson.encode({"_id": 1, "x": "y" * 101}))
    assert len(bson.encode({"_id": 1, "x": "y" * 101})) == ord("{")
    assert not is_text(b"")
