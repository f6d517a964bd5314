"""Read MongoDB's Extended JSON, which `fastdump.codec.extended_json` describes and writes."""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812 - as the other errors are called
from uuid import UUID

from fastdump.codec.bson import document
from fastdump.codec.decimal128 import decimal_bytes
from fastdump.errors import FormatError

__all__ = ["to_bson"]

_double, _int32, _int64 = Struct("<d"), Struct("<i"), Struct("<q")
_timestamp = Struct("<II")
_INT32_RANGE, _INT64_RANGE = range(-(2**31), 2**31), range(-(2**63), 2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SHOWN = 100
_DOCUMENT, _ARRAY = 0x03, 0x04

Value = tuple[int, bytes]
"""The type of a BSON value, and its bytes."""


class _Object(list[tuple[str, "object"]]):
    """A JSON object as its names and values, in order, including repeated names."""


class _NotExtendedJsonError(Exception):
    """An object that claims to be of another type, but does not have the form of that type."""


def to_bson(text: str | bytes) -> bytes:
    """Return the BSON of a document in Extended JSON.

    Raises:
        FormatError: the text is not a document in Extended JSON.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    try:
        found = json.loads(text, object_pairs_hook=_Object, parse_constant=_refuse_constant)
        if not isinstance(found, _Object):
            raise FormatError(f"not a document: {text[:_SHOWN]}")
        # The outermost object is always a document, even if its first name begins with a dollar.
        return _document(found)
    except (ValueError, _NotExtendedJsonError, RecursionError, StructError) as error:
        raise FormatError(f"not valid Extended JSON: {text[:_SHOWN]}: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _document(fields: Sequence[tuple[str, object]]) -> bytes:
    return document(*(_element(name, value) for name, value in fields))


def _element(name: str, value: object) -> bytes:
    kind, data = _value(value)
    return b"%c%b%b" % (kind, _name(name), data)


def _name(text: str) -> bytes:
    encoded = _encoded(text)
    if b"\0" in encoded:
        raise _NotExtendedJsonError("a name contains a zero character")
    return encoded + b"\0"


def _encoded(text: str) -> bytes:
    return text.encode(errors="replace")  # JSON text can contain half of a surrogate pair


def _string_value(text: str) -> bytes:
    encoded = _encoded(text)
    return _int32.pack(len(encoded) + 1) + encoded + b"\0"


def _value(value: object) -> Value:
    match value:
        case None:
            return 0x0A, b""
        case bool():
            return 0x08, bytes([value])
        case str():
            return 0x02, _string_value(value)
        case int():
            return _whole(value)
        case float():
            return 0x01, _double.pack(value)
        case _Object():
            return _special(value) or (_DOCUMENT, _document(value))
        case list():
            return _ARRAY, _document([(str(place), one) for place, one in enumerate(value)])
    raise _NotExtendedJsonError(f"{value!r} cannot be converted to BSON")


def _whole(number: int) -> Value:
    if number in _INT32_RANGE:
        return 0x10, _int32.pack(number)
    if number in _INT64_RANGE:
        return 0x12, _int64.pack(number)
    return 0x01, _double.pack(number)


def _special(found: _Object) -> Value | None:
    """Return the value that an object stands for; None if it is a document."""
    if not found or (read := _READERS.get(found[0][0])) is None:
        return None
    fields = dict(found)
    try:
        if len(fields) == len(found):
            return read(fields)
    except (KeyError, TypeError, ValueError, OverflowError, Base64Error):
        pass
    raise _NotExtendedJsonError(f"an object with {found[0][0]} does not have the required form")


def _only(fields: dict[str, object], *names: str) -> Iterator[object]:
    """Return the values of those names; raise a ValueError if there are other names."""
    if fields.keys() != set(names):
        raise ValueError(names)
    return iter([fields[name] for name in names])


def _text_of(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number_of(value: object) -> int:
    # The canonical form writes numbers as text, older forms as numbers.
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(value)
    return int(value)


def _fields_of(value: object) -> dict[str, object]:
    if not isinstance(value, _Object):
        raise TypeError(value)
    return dict(value)


def _read_double(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$numberDouble")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(value)
    return 0x01, _double.pack(float(value))


def _read_date(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$date")
    if isinstance(value, _Object):
        (value,) = _only(dict(value), "$numberLong")
        return 0x09, _int64.pack(_number_of(value))
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(value)
        return 0x09, _int64.pack((moment - _EPOCH) // _MILLISECOND)
    return 0x09, _int64.pack(_number_of(value))


def _read_binary(fields: dict[str, object]) -> Value:
    value = fields["$binary"]
    if isinstance(value, _Object):
        _only(fields, "$binary")
        data, kind = _only(dict(value), "base64", "subType")
    else:
        data, kind = _only(fields, "$binary", "$type")
    return _binary(b64decode(_text_of(data), validate=True), int(_text_of(kind), 16))


def _binary(data: bytes, kind: int) -> Value:
    if kind == 2:
        data = _int32.pack(len(data)) + data
    return 0x05, _int32.pack(len(data)) + bytes([kind]) + data


def _read_uuid(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$uuid")
    return _binary(UUID(_text_of(value)).bytes, 4)


def _read_object_id(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$oid")
    found = bytes.fromhex(_text_of(value))
    if len(found) != 12:
        raise ValueError(value)
    return 0x07, found


def _read_regex(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$regularExpression")
    pattern, options = _only(_fields_of(value), "pattern", "options")
    # The server requires the letters of the options in alphabetical order.
    return 0x0B, _name(_text_of(pattern)) + _name("".join(sorted(_text_of(options))))


def _read_pointer(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$dbPointer")
    reference, identity = _only(_fields_of(value), "$ref", "$id")
    return 0x0C, _string_value(_text_of(reference)) + _read_object_id(_fields_of(identity))[1]


def _read_code(fields: dict[str, object]) -> Value:
    if "$scope" not in fields:
        (code,) = _only(fields, "$code")
        return 0x0D, _string_value(_text_of(code))
    code, scope = _only(fields, "$code", "$scope")
    if not isinstance(scope, _Object):
        raise TypeError(scope)
    data = _string_value(_text_of(code)) + _document(scope)
    return 0x0F, _int32.pack(len(data) + 4) + data


def _read_timestamp(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$timestamp")
    seconds, increment = _only(_fields_of(value), "t", "i")
    return 0x11, _timestamp.pack(_number_of(increment), _number_of(seconds))


def _read_decimal(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$numberDecimal")
    return 0x13, decimal_bytes(_text_of(value))


def _read_symbol(fields: dict[str, object]) -> Value:
    (value,) = _only(fields, "$symbol")
    return 0x0E, _string_value(_text_of(value))


def _reads_number(name: str, kind: int, number: Struct) -> Callable[[dict[str, object]], Value]:
    def read(fields: dict[str, object]) -> Value:
        (value,) = _only(fields, name)
        return kind, number.pack(_number_of(value))

    return read


def _reads_constant(name: str, kind: int) -> Callable[[dict[str, object]], Value]:
    def read(fields: dict[str, object]) -> Value:
        (value,) = _only(fields, name)
        if value != 1:
            raise ValueError(value)
        return kind, b""

    return read


_READERS: dict[str, Callable[[dict[str, object]], Value]] = {
    "$binary": _read_binary,
    "$code": _read_code,
    "$date": _read_date,
    "$dbPointer": _read_pointer,
    "$maxKey": _reads_constant("$maxKey", 0x7F),
    "$minKey": _reads_constant("$minKey", 0xFF),
    "$numberDecimal": _read_decimal,
    "$numberDouble": _read_double,
    "$numberInt": _reads_number("$numberInt", 0x10, _int32),
    "$numberLong": _reads_number("$numberLong", 0x12, _int64),
    "$oid": _read_object_id,
    "$regularExpression": _read_regex,
    "$symbol": _read_symbol,
    "$timestamp": _read_timestamp,
    "$undefined": _reads_constant("$undefined", 0x06),
    "$uuid": _read_uuid,
}
