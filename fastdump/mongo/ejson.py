"""Komodo's JSON lines: documents as its own backup writes them and its own restore reads them.

One line for each document, as Rust's serde writes BSON (the `bson` crate, 2.15): an ObjectId as
`{"$oid": …}`, a date as `{"$date": {"$numberLong": …}}`, and numbers as they are, so that the
width of an integer is lost. Where that would change a value, and Komodo's restore understands the
longer form of canonical Extended JSON, that is written: `{"$numberLong": "5"}` for a small int64,
`{"$numberDouble": "NaN"}`.

This is here and not among the codecs because it needs the driver's BSON. orjson does the text; it
calls back only for what JSON has no type for.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import NamedTuple, TypeVar

import bson
import orjson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError, InvalidBSON
from bson.int64 import Int64
from bson.json_util import JSONMode, JSONOptions
from bson.objectid import ObjectId

from fastdump.codec.bson import MAX_DOCUMENT_BYTES, Batch, spans
from fastdump.codec.extended_json import from_bson, shown_id
from fastdump.codec.lines import Lines
from fastdump.model import ExtendedJson
from fastdump.mongo.client import Document

__all__ = ["BadLine", "Decoded", "Encoded", "decode", "encode"]

_EXACT: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_FORGIVING = _EXACT.with_options(unicode_decode_error_handler="replace")
_JSON = JSONOptions(
    json_mode=JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS
)
_DUMPS = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_APPEND_NEWLINE
_OBJECT_ID = b"\x07_id\0"
# A type, and a name that begins with a dollar; or the same by chance in the middle of a value.
_DOLLAR = re.compile(rb"[\x01-\x13\x7f\xff]\$")
_INT32 = range(-(2**31), 2**31)

# What the JSON parser, the driver and its reader of Extended JSON raise for what is no document.
_NO_DOCUMENT = (
    ArithmeticError, AttributeError, BSONError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip

T = TypeVar("T")


class Encoded(NamedTuple):
    """A batch as text."""

    text: bytes
    inexact: list[ExtendedJson]
    """The `_id`s of documents that do not come back as they were: they hold deprecated types, text
    that is no UTF-8, objects that as Extended JSON mean something else, or no `_id`."""
    other_ids: int
    """How many documents have an `_id` that is no ObjectId."""


class BadLine(NamedTuple):
    """A line that is no document."""

    number: int
    reason: str


class Decoded(NamedTuple):
    """Lines as a batch."""

    batch: Batch
    bad: list[BadLine]


def encode(batch: Batch) -> Encoded:
    """The JSON lines of a batch.

    Raises:
        FormatError: these are no documents.
    """
    lines: list[bytes] = []
    inexact: list[ExtendedJson] = []
    other_ids = 0
    for start, end in spans(batch.data):
        raw = batch.data[start:end]
        other_ids += not raw.startswith(_OBJECT_ID, 4)
        found = _decoded(raw)
        if found is None:
            inexact.append(shown_id(raw))
            lines.append(from_bson(raw).encode() + b"\n")
            continue
        is_exact = bson.encode(found, codec_options=_EXACT) == raw
        line = orjson.dumps(found, _extended, _DUMPS)
        if b"null" in line:
            # Which is also what orjson makes of NaN and the infinities.
            line = orjson.dumps(_with_marked_numbers(found), _extended, _DUMPS)
        may_differ = _DOLLAR.search(raw) is not None or "_id" not in found
        if not is_exact or (may_differ and decode(Lines(line, 0)).batch.data != raw):
            inexact.append(shown_id(raw))
        lines.append(line)
    return Encoded(b"".join(lines), inexact, other_ids)


def _decoded(raw: bytes) -> Document | None:
    """Return a document with what the driver makes of it; None where it makes nothing of it."""
    for how in (_EXACT, _FORGIVING):
        with suppress(InvalidBSON):
            return bson.decode(raw, how)
    return None


def _extended(value: object) -> object:
    """What JSON has no type for."""
    if isinstance(value, ObjectId):
        return {"$oid": str(value)}
    if isinstance(value, Int64):
        # A range finds an exact int at once, but looks for any other among all its numbers.
        plain = int(value)
        return {"$numberLong": str(plain)} if plain in _INT32 else plain
    if isinstance(value, DatetimeMS):
        return {"$date": {"$numberLong": str(int(value))}}
    if isinstance(value, dict):
        return dict(value)  # of an ordered kind, which orjson leaves to us
    return json_util.default(value, _JSON)


def _with_marked_numbers(value: T) -> T | dict[str, str]:
    """The value with NaN and infinities as Extended JSON; containers are changed in place."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$numberDouble": str(json_util.default(value, _JSON)["$numberDouble"])}
    if isinstance(value, dict):
        for name, one in value.items():
            value[name] = _with_marked_numbers(one)
    elif isinstance(value, list):
        value[:] = map(_with_marked_numbers, value)
    return value


def decode(lines: Lines) -> Decoded:
    """The documents of JSON lines, in any form of Extended JSON; empty lines count for nothing.

    A plain number becomes an int32 where it fits, else an int64; one with a fraction a double.
    """
    documents: list[bytes] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines.text.split(b"\n"), lines.first):
        if not line or line.isspace():
            continue
        try:
            documents.append(_document(line))
        except _NO_DOCUMENT as error:
            bad.append(BadLine(number, f"it is no document: {error}"))
    return Decoded(Batch(b"".join(documents), len(documents)), bad)


def _document(line: bytes) -> bytes:
    found = orjson.loads(line)
    if not isinstance(found, dict):
        raise TypeError("it is no JSON object")
    if "_id" not in found:
        raise ValueError("it has no _id")
    for name, value in found.items():
        if type(value) is dict or type(value) is list:
            found[name] = _revived(value)
    raw = bson.encode(found, codec_options=_EXACT)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ValueError("it is larger than a document may be")
    return raw


def _revived(value: object) -> object:
    """A value with all Extended JSON in it turned into what it stands for."""
    if type(value) is list:
        for place, one in enumerate(value):
            if type(one) is dict or type(one) is list:
                value[place] = _revived(one)
        return value
    assert isinstance(value, dict)  # noqa: S101 - nothing else is asked for
    for name, one in value.items():
        if type(one) is dict or type(one) is list:
            value[name] = _revived(one)
    for name in value:
        # Every special form begins with its dollar; only the first name is looked at.
        return _special(value) if name[:1] == "$" else value
    return value


def _special(value: Document) -> object:
    # Before the general way, since these are nearly all that Komodo's documents have.
    if len(value) == 1:
        ((name, one),) = value.items()
        if name == "$oid":
            if not isinstance(one, str):
                raise TypeError("an $oid must be text")
            return ObjectId(one)
        if name == "$date" and isinstance(one, Int64):
            return DatetimeMS(int(one))
    return json_util.object_hook(value, _JSON)
