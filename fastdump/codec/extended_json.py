"""Write MongoDB's Extended JSON, version 2: BSON as text, for people and in mongodump's files.

This module writes the canonical form. The reader accepts the canonical, the relaxed and some older
forms, and treats objects as mongorestore does: an object stands for a value of another type if its
first name says so (`$oid`, `$date`); `{"$regex": …, "$ne": …}` is an ordinary document.

Both directions work on BSON bytes, so that the order of fields, repeated fields and the types of
numbers do not change. The driver's own converter and libbson's were tried: the first loses the
`$ne` above, the second refuses it.

Sources: https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md
and the MongoDB Go driver of August 2026, bson/extjson_parser.go.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812 - as the other errors are called

from fastdump.codec.bson import element, elements
from fastdump.codec.decimal128 import decimal_text
from fastdump.errors import FormatError

__all__ = ["from_bson", "shown_id"]

_double, _int32, _int64 = Struct("<d"), Struct("<i"), Struct("<q")
_timestamp = Struct("<II")
_INT32_RANGE, _INT64_RANGE = range(-(2**31), 2**31), range(-(2**63), 2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SHOWN = 100
_DOCUMENT, _ARRAY = 0x03, 0x04


def from_bson(data: bytes) -> str:
    """Return the canonical Extended JSON of a BSON document; text that is not UTF-8 is replaced.

    Raises:
        FormatError: the document is malformed.
    """
    return _object_text(data)


def shown_id(data: bytes) -> str:
    """Return the `_id` of a document as canonical Extended JSON, for people; null without one.

    Raises:
        FormatError: the document is malformed.
    """
    found = element(data, b"_id")
    return "null" if found is None else _text(found.kind, data[found.value : found.end])


def _object_text(data: bytes) -> str:
    fields = (
        f"{_quoted(found.name)}: {_text(found.kind, data[found.value : found.end])}"
        for found in elements(data)
    )
    return f"{{{', '.join(fields)}}}"


def _array_text(data: bytes) -> str:
    values = (_text(found.kind, data[found.value : found.end]) for found in elements(data))
    return f"[{', '.join(values)}]"


def _quoted(text: bytes) -> str:
    return json.dumps(text.decode(errors="replace"), ensure_ascii=False)


def _string(value: bytes) -> str:
    return _quoted(value[4:-1])


def _text(kind: int, value: bytes) -> str:
    try:
        return _WRITERS[kind](value)
    except RecursionError:
        raise FormatError("documents are nested too deeply") from None
    except (LookupError, ValueError, StructError) as error:
        raise FormatError(f"a value of type 0x{kind:02x} is malformed: {error}") from None


def _number_text(name: str, number: Struct) -> Callable[[bytes], str]:
    return lambda value: f'{{"{name}": "{number.unpack(value)[0]}"}}'


def _double_text(value: bytes) -> str:
    text = repr(_double.unpack(value)[0])
    text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text)
    return f'{{"$numberDouble": "{text}"}}'


def _binary_text(value: bytes) -> str:
    data = value[5:]
    if value[4] == 2:
        data = data[4:]  # the old form of binary data repeats its length inside
    encoded = b64encode(data).decode()
    return f'{{"$binary": {{"base64": "{encoded}", "subType": "{value[4]:02x}"}}}}'


def _regex_text(value: bytes) -> str:
    pattern, options = value[:-1].split(b"\0", 1)
    fields = f'"pattern": {_quoted(pattern)}, "options": {_quoted(options)}'
    return f'{{"$regularExpression": {{{fields}}}}}'


def _pointer_text(value: bytes) -> str:
    reference = f'"$ref": {_string(value[:-12])}, "$id": {{"$oid": "{value[-12:].hex()}"}}'
    return f'{{"$dbPointer": {{{reference}}}}}'


def _scoped_text(value: bytes) -> str:
    length = _int32.unpack_from(value, 4)[0]
    code, scope = value[4 : 8 + length], value[8 + length :]
    return f'{{"$code": {_string(code)}, "$scope": {_object_text(scope)}}}'


def _timestamp_text(value: bytes) -> str:
    increment, seconds = _timestamp.unpack(value)
    return f'{{"$timestamp": {{"t": {seconds}, "i": {increment}}}}}'


_WRITERS: dict[int, Callable[[bytes], str]] = {
    0x01: _double_text,
    0x02: _string,
    0x03: _object_text,
    0x04: _array_text,
    0x05: _binary_text,
    0x06: lambda _value: '{"$undefined": true}',
    0x07: lambda value: f'{{"$oid": "{value.hex()}"}}',
    0x08: lambda value: "true" if value[0] else "false",
    0x09: lambda value: f'{{"$date": {{"$numberLong": "{_int64.unpack(value)[0]}"}}}}',
    0x0A: lambda _value: "null",
    0x0B: _regex_text,
    0x0C: _pointer_text,
    0x0D: lambda value: f'{{"$code": {_string(value)}}}',
    0x0E: lambda value: f'{{"$symbol": {_string(value)}}}',
    0x0F: _scoped_text,
    0x10: _number_text("$numberInt", _int32),
    0x11: _timestamp_text,
    0x12: _number_text("$numberLong", _int64),
    0x13: lambda value: f'{{"$numberDecimal": "{decimal_text(value)}"}}',
    0x7F: lambda _value: '{"$maxKey": 1}',
    0xFF: lambda _value: '{"$minKey": 1}',
}
