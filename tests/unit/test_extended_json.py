"""Extended JSON from BSON bytes and back, beside the driver's own converter and decimals."""

from __future__ import annotations

import json
from typing import Any

import bson
import pytest
from bson import json_util
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from hypothesis import given
from hypothesis import strategies as st

from fastdump.codec.decimal128 import decimal_bytes, decimal_text
from fastdump.codec.extended_json import from_bson, shown_id
from fastdump.codec.extended_json_reader import to_bson
from fastdump.errors import FormatError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = TEXT.filter(lambda text: "\0" not in text and text[:1] != "$")
INT64 = st.integers(-(2**63), 2**63 - 1)
UINT32 = st.integers(0, 2**32 - 1)
DECIMALS = st.binary(min_size=16, max_size=16).map(bson.Decimal128.from_bid)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    INT64.map(bson.Int64),
    st.floats(allow_nan=False),
    st.just(float("nan")),  # text cannot tell one NaN from another
    TEXT,
    INT64.map(DatetimeMS),
    st.binary(min_size=12, max_size=12).map(bson.ObjectId),
    st.builds(bson.Binary, st.binary(max_size=9), st.integers(0, 255)),
    st.builds(bson.Regex, NAMES, st.sampled_from(["", "i", "im", "imsx"])),
    st.builds(bson.Timestamp, UINT32, UINT32),
    TEXT.map(bson.Code),
    st.builds(bson.Code, TEXT, st.dictionaries(NAMES, TEXT, max_size=2)),
    st.sampled_from([bson.MinKey(), bson.MaxKey()]),
    DECIMALS.filter(lambda number: number == bson.Decimal128(str(number))),
)
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        VALUES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=5,
)
OPTIONS: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    datetime_conversion=bson.DatetimeConversion.DATETIME_MS
)
_CANONICAL = json_util.CANONICAL_JSON_OPTIONS


@given(DOCUMENTS)
def test_what_is_written_is_what_the_driver_writes(found: dict[str, Any]) -> None:
    data = bson.encode(found)
    expected = json_util.dumps(bson.decode(data, OPTIONS), json_options=_CANONICAL)
    assert json.loads(from_bson(data)) == json.loads(expected)


@given(DOCUMENTS)
def test_what_was_written_is_read_byte_for_byte(found: dict[str, Any]) -> None:
    data = bson.encode(found)
    assert to_bson(from_bson(data)) == data


LIKE_EXTENDED_JSON = [
    {"email": {"$regex": "@", "$options": "i", "$ne": "x@"}},
    {"email": {"$regex": "@", "$options": "i"}},
    {"email": {"$regex": bson.Regex("a", "i"), "$ne": 1}},
    {"a": {"$type": "string"}},
    {"a": {"$ref": "x", "$id": 1}},
    {"$oid": "the outermost object is a document"},
    {"$expr": {"$eq": [{"$literal": 1.0}, bson.Int64(1), True]}},
]


@pytest.mark.parametrize("found", LIKE_EXTENDED_JSON, ids=str)
def test_operators_are_not_taken_for_types(found: dict[str, Any]) -> None:
    data = bson.encode(found)
    assert to_bson(from_bson(data)) == data


def test_order_and_repeated_fields_stay() -> None:
    one, two = bson.encode({"b": 1, "a": 2}), bson.encode({"b": 3})
    data = (len(one) + len(two) - 5).to_bytes(4, "little") + one[4:-1] + two[4:-1] + b"\0"
    assert from_bson(data) == (
        '{"b": {"$numberInt": "1"}, "a": {"$numberInt": "2"}, "b": {"$numberInt": "3"}}'
    )
    assert to_bson(from_bson(data)) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 5}', 5),
        ('{"a": 3000000000}', bson.Int64(3_000_000_000)),
        ('{"a": 1.5}', 1.5),
        ('{"a": {"$numberLong": 5}}', bson.Int64(5)),
        ('{"a": {"$date": "1970-01-01T00:00:01.5Z"}}', DatetimeMS(1500)),
        ('{"a": {"$date": "1970-01-01T01:00:00+01:00"}}', DatetimeMS(0)),
        ('{"a": {"$date": -5}}', DatetimeMS(-5)),
        ('{"a": {"$binary": "YWJj", "$type": "05"}}', bson.Binary(b"abc", 5)),
        (
            '{"a": {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}}',
            bson.Binary(bytes.fromhex("00112233445566778899aabbccddeeff"), 4),
        ),
        ('{"a": "\\ud800"}', "?"),
    ],
)
def test_relaxed_and_older_forms_are_read(text: str, value: object) -> None:
    assert to_bson(text) == bson.encode({"a": value})


@pytest.mark.parametrize(
    "text",
    [
        "", "5", "[]", "null", '{"a": NaN}', '{"a": {"$oid": "x"}}', '{"a": {"$date": "2020"}}',
        '{"a": {"$numberInt": "3000000000"}}', '{"a": {"$numberLong": true}}',
        '{"a": {"$oid": "00112233445566778899aabb", "b": 1}}', '{"a\\u0000": 1}',
        '{"a": {"$minKey": 2}}', '{"a": {"$timestamp": 5}}', '{"a": {"$numberDecimal": "x"}}',
        '{"a": {"$binary": {"base64": "*", "subType": "00"}}}', '{"a": {"$code": 1}}',
        '{"a":' * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_extended_json_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="not "):
        to_bson(text)


def test_text_that_is_not_utf8_is_shown_all_the_same() -> None:
    data = bson.encode({"_id": "caf_"}).replace(b"caf_", b"caf\xe9")
    assert shown_id(data) == '"caf\ufffd"'
    assert shown_id(bson.encode({"x": 1})) == "null"
    # The driver cannot give this one a name.
    pointer = bson.encode({"a": DBRef("b", 1)})
    assert from_bson(pointer) == '{"a": {"$ref": "b", "$id": {"$numberInt": "1"}}}'


@given(st.binary(min_size=16, max_size=16))
def test_any_decimal_is_shown_as_the_driver_shows_it(bits: bytes) -> None:
    assert decimal_text(bits) == str(bson.Decimal128.from_bid(bits))


@given(
    st.decimals(places=3, allow_nan=False)
    | st.sampled_from(["1E+6144", "1E-6176", "0E-9999", "9E+6111", "-0", "1000E-6178"])
)
def test_any_decimal_is_read_as_the_driver_reads_it(number: object) -> None:
    text = str(number)
    try:
        expected = bson.Decimal128(text)
    except (ArithmeticError, ValueError):
        with pytest.raises(ValueError, match=r"34 digits|not a decimal"):
            decimal_bytes(text)
    else:
        assert decimal_bytes(text) == expected.bid
