"""Convert between BSON and the JSON lines that Komodo's own backup writes and its restore reads.

One line for each document, as Rust's serde writes BSON (the `bson` crate, 2.15): an ObjectId as
`{"$oid": …}`, a date as `{"$date": {"$numberLong": …}}`, and numbers as they are, so that the
width of an integer is lost. If that would change a value, and Komodo's restore understands the
longer form of canonical Extended JSON, the longer form is written: `{"$numberLong": "5"}` for a
small int64, `{"$numberDouble": "NaN"}`.

This module is not among the codecs because it needs the driver's BSON. orjson writes the text, and
calls back only for types that JSON does not have.
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
# A type and a name that begins with a dollar. The middle of a value may match by chance.
_DOLLAR = re.compile(rb"[\x01-\x13\x7f\xff]\$")
_INT32 = range(-(2**31), 2**31)

# Exceptions of the JSON parser, the driver and its reader of Extended JSON for an invalid document.
_NO_DOCUMENT = (
    ArithmeticError, AttributeError, BSONError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip

T = TypeVar("T")


class Encoded(NamedTuple):
    """Result of `encode`: a batch as JSON lines."""

    text: bytes
    inexact: list[ExtendedJson]
    """The `_id`s of documents that cannot be restored exactly: they contain deprecated types, text
    that is not UTF-8, objects that mean something else as Extended JSON, or no `_id`."""
    other_ids: int
    """Number of documents with an `_id` that is not an ObjectId."""


class BadLine(NamedTuple):
    """A line that does not contain a valid document."""

    number: int
    reason: str


class Decoded(NamedTuple):
    """Result of `decode`: JSON lines as a batch."""

    batch: Batch
    bad: list[BadLine]


def encode(batch: Batch) -> Encoded:
    """Encode a batch as JSON lines.

    Raises:
        FormatError: the batch does not consist of documents.
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
            # orjson also writes NaN and infinities as null.
            line = orjson.dumps(_with_marked_numbers(found), _extended, _DUMPS)
        may_differ = _DOLLAR.search(raw) is not None or "_id" not in found
        if not is_exact or (may_differ and decode(Lines(line, 0)).batch.data != raw):
            inexact.append(shown_id(raw))
        lines.append(line)
    return Encoded(b"".join(lines), inexact, other_ids)


def _decoded(raw: bytes) -> Document | None:
    """Return a document decoded by the driver; None if the driver cannot decode it."""
    for how in (_EXACT, _FORGIVING):
        with suppress(InvalidBSON):
            return bson.decode(raw, how)
    return None


def _extended(value: object) -> object:
    """Return the Extended JSON of a value whose type JSON does not have."""
    if isinstance(value, ObjectId):
        return {"$oid": str(value)}
    if isinstance(value, Int64):
        # `in` computes for an exact int; for a subclass it would compare with every number.
        plain = int(value)
        return {"$numberLong": str(plain)} if plain in _INT32 else plain
    if isinstance(value, DatetimeMS):
        return {"$date": {"$numberLong": str(int(value))}}
    if isinstance(value, dict):
        return dict(value)  # a subclass of dict, which orjson does not convert itself
    return json_util.default(value, _JSON)


def _with_marked_numbers(value: T) -> T | dict[str, str]:
    """Return a value with NaN and infinities as Extended JSON; containers are changed in place."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$numberDouble": str(json_util.default(value, _JSON)["$numberDouble"])}
    if isinstance(value, dict):
        for name, one in value.items():
            value[name] = _with_marked_numbers(one)
    elif isinstance(value, list):
        value[:] = map(_with_marked_numbers, value)
    return value


def decode(lines: Lines) -> Decoded:
    """Decode JSON lines in any form of Extended JSON; empty lines are skipped.

    A plain number becomes an int32 if it fits, otherwise an int64; one with a fraction a double.
    """
    documents: list[bytes] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines.text.split(b"\n"), lines.first):
        if not line or line.isspace():
            continue
        try:
            documents.append(_document(line))
        except _NO_DOCUMENT as error:
            bad.append(BadLine(number, f"not a valid document: {error}"))
    return Decoded(Batch(b"".join(documents), len(documents)), bad)


def _document(line: bytes) -> bytes:
    found = orjson.loads(line)
    if not isinstance(found, dict):
        raise TypeError("it is not a JSON object")
    if "_id" not in found:
        raise ValueError("it has no _id")
    for name, value in found.items():
        if type(value) is dict or type(value) is list:
            found[name] = _revived(value)
    raw = bson.encode(found, codec_options=_EXACT)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ValueError("it is larger than the maximum size of a document")
    return raw


def _revived(value: object) -> object:
    """Replace all Extended JSON in a value by the values that it stands for."""
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
        # The first name of every special form begins with a dollar: looking at one is enough.
        return _special(value) if name[:1] == "$" else value
    return value


def _special(value: Document) -> object:
    # A shortcut for the two forms that are nearly all in Komodo's documents.
    if len(value) == 1:
        ((name, one),) = value.items()
        if name == "$oid":
            if not isinstance(one, str):
                raise TypeError("an $oid must be text")
            return ObjectId(one)
        if name == "$date" and isinstance(one, Int64):
            return DatetimeMS(int(one))
    return json_util.object_hook(value, _JSON)
