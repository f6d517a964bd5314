"""Check and compare definitions of collections and indexes as BSON, without decoding them.

Options and indexes go from `listCollections` and `listIndexes` to `create` and `createIndexes` as
bytes. Decoding and encoding them again could change them.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from fastdump.codec.bson import Element, element, elements, spans, without
from fastdump.codec.extended_json import from_bson
from fastdump.errors import FormatError
from fastdump.model import NO_OPTIONS, Bson, Definition

__all__ = ["check", "differing", "further_indexes", "has_true", "unmet"]

_DOUBLE, _DOCUMENT, _ARRAY, _BOOLEAN, _NULL, _INT32, _INT64 = (
    0x01, 0x03, 0x04, 0x08, 0x0A, 0x10, 0x12,
)  # fmt: skip
_NUMBERS = {
    _BOOLEAN: Struct("<?"),
    _DOUBLE: Struct("<d"),
    _INT32: Struct("<i"),
    _INT64: Struct("<q"),
}

_COMPLETED = frozenset({b"clusteredIndex", b"collation", b"timeseries"})
"""Options that are documents, to which a server adds its own defaults."""

_SIMPLE = b"\x02locale\0\x07\0\0\0simple\0"
_CAPPED_STEP = 256
"""Servers round the size of a capped collection up to a multiple of this number of bytes."""


def check(definition: Definition) -> None:
    """Check all values of a definition, which may come from an untrusted file.

    Raises:
        FormatError: the options or an index are malformed.
    """
    for data in (definition.options, *definition.indexes):
        try:
            _check(data)
        except FormatError as error:
            raise FormatError(
                f"the definition of {definition.namespace} is not valid: {error}"
            ) from None


def _check(data: Bson) -> None:
    if spans(data) != [(0, len(data))]:
        raise FormatError("a part of it is not exactly one document")
    from_bson(data)


def has_true(data: Bson, name: bytes) -> bool:
    """Return True if a field exists and the server takes its value for true, as with `capped`."""
    found = element(data, name)
    return found is not None and bool(_number(data, found))


def _number(data: Bson, found: Element) -> float | None:
    """Return the value of a number or a boolean; None for another type."""
    if found.kind not in _NUMBERS:
        return None
    (value,) = _NUMBERS[found.kind].unpack(data[found.value : found.end])
    return float(value) if isinstance(value, float) else int(value)


def further_indexes(listed: Iterable[Bson]) -> tuple[Bson, ...]:
    """Return all indexes except the one on `_id`, without the namespace that old servers add.

    Raises:
        FormatError: an index is malformed.
    """
    return tuple(without(index, b"ns") for index in listed if not _is_id_index(index))


def _is_id_index(index: Bson) -> bool:
    key = element(index, b"key")
    if key is None or key.kind != _DOCUMENT:
        return False
    fields = list(elements(index, key.value))
    if len(fields) != 1 or fields[0].name != b"_id" or fields[0].kind == _BOOLEAN:
        return False
    return _number(index, fields[0]) == 1


def differing(one: Bson, other: Bson) -> list[str]:
    """Return the names of the fields whose bytes differ.

    At the top level of options and of an index the order of fields has no meaning, so it is not
    compared; in nested documents it is.
    """
    first, second = (
        {found.name: data[found.start : found.end] for found in elements(data)}
        for data in (one, other)
    )
    names = dict.fromkeys([*first, *second])
    return [name.decode(errors="replace") for name in names if first.get(name) != second.get(name)]


def unmet(asked: Bson, got: Bson) -> list[str]:
    """Return the names of the requested fields that a server did not apply.

    A server may add fields of its own, change the type of a number, and round a size up. Fields
    with default values, such as `false`, may be missing.
    """
    there = {found.name: found for found in elements(got)}
    return [
        one.name.decode(errors="replace")
        for one in elements(asked)
        if not _is_met(asked, one, got, there.get(one.name))
    ]


def _is_met(asked: Bson, one: Element, got: Bson, other: Element | None) -> bool:
    if other is None:
        return _is_default(asked, one)
    first, second = asked[one.value : one.end], got[other.value : other.end]
    wanted, found = _number(asked, one), _number(got, other)
    if wanted is not None and found is not None:
        is_rounded = one.name == b"size" and 0 <= found - wanted < _CAPPED_STEP
        return wanted == found or is_rounded
    if one.name in _COMPLETED and one.kind == other.kind == _DOCUMENT:
        return not unmet(first, second)
    return one.kind == other.kind and first == second


def _is_default(asked: Bson, one: Element) -> bool:
    value = asked[one.value : one.end]
    if one.kind in (_DOCUMENT, _ARRAY):
        return value == NO_OPTIONS or (one.name == b"collation" and _SIMPLE in value)
    return one.kind == _NULL or _number(asked, one) == 0
