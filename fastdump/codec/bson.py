"""BSON framing: find where documents and their elements begin and end, without decoding them.

Sources: the BSON specification, https://bsonspec.org/spec.html, and the server's limits,
https://www.mongodb.com/docs/manual/reference/limits/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from mmap import mmap
from struct import Struct
from typing import NamedTuple

from fastdump.errors import FormatError

__all__ = [
    "MAX_DOCUMENT_BYTES",
    "MIN_DOCUMENT_BYTES",
    "Batch",
    "Element",
    "Span",
    "count_in_array",
    "cuts",
    "document",
    "element",
    "elements",
    "id_element",
    "reframe",
    "spans",
    "split",
    "without",
]

MIN_DOCUMENT_BYTES = 5
"""Size of an empty document: its length and its end."""

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024 + 16 * 1024
"""Largest document: 16 MiB of the user's, and 16 KiB for fields that the server adds
(BSONObjMaxInternalSize)."""

Span = tuple[int, int]
"""The offset at which a document begins, and the one at which it ends (exclusive)."""

_int32 = Struct("<i")
_unpack_length = _int32.unpack_from

# Bytes of a value, by its type; those of variable length are found in _value_end.
_FIXED = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0x7F: 0,  # MaxKey
    0xFF: 0,  # MinKey
}
_STRINGS = frozenset({0x02, 0x0D, 0x0E})
_DOCUMENTS = frozenset({0x03, 0x04, 0x0F})
_BINARY, _REGEX, _DBPOINTER = 0x05, 0x0B, 0x0C


class Batch(NamedTuple):
    """Whole documents, concatenated."""

    data: bytes
    """Bytes of the documents, one after another."""
    documents: int
    """Number of documents."""


class Element(NamedTuple):
    """One element of a document, with its offsets in the bytes that it was read from."""

    kind: int
    """Type of the value, as a byte."""
    name: bytes
    start: int
    """Offset of the element's first byte, its type."""
    value: int
    """Offset of the value."""
    end: int
    """Offset of the first byte after the value."""


def spans(run: bytes | memoryview) -> list[Span]:
    """Return the span of each document in a run of documents.

    Raises:
        FormatError: a length is impossible, a document is cut, or its last byte is not zero.
    """
    found: list[Span] = []
    append = found.append
    position, size = 0, len(run)
    # The checks of _length are repeated here, because this loop runs once for every document.
    while size - position >= MIN_DOCUMENT_BYTES:
        length = _unpack_length(run, position)[0]
        end = position + length
        if not MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES or end > size:
            break
        if run[end - 1]:
            raise FormatError(f"the document at byte {position} does not end with a zero")
        append((position, end))
        position = end
    if position < size:
        _length(run, position, size)
    return found


def _length(run: bytes | memoryview | mmap, position: int, size: int) -> int:
    if size - position < MIN_DOCUMENT_BYTES:
        raise FormatError(f"the document at byte {position} is cut")
    length: int = _unpack_length(run, position)[0]
    if not MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES:
        raise FormatError(f"the document at byte {position} claims a length of {length} bytes")
    if length > size - position:
        raise FormatError(f"the document at byte {position} is cut")
    return length


def cuts(data: bytes | memoryview | mmap, max_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Cut a run of documents into shorter runs: yield start, end and number of documents of each.

    Only the lengths of documents are read. Each run is at most `max_bytes` long, unless it is a
    single larger document.

    Raises:
        FormatError: a length is impossible, or the last document is cut; everything before that was
            yielded.
    """
    start = position = count = 0
    size = len(data)
    while position < size:
        try:
            length = _length(data, position, size)
        except FormatError:
            if count:
                yield start, position, count
            raise
        if count and position + length - start > max_bytes:
            yield start, position, count
            start, count = position, 0
        position += length
        count += 1
    if count:
        yield start, position, count


def split(run: bytes, max_bytes: int, max_documents: int) -> Iterator[tuple[int, int, list[Span]]]:
    """Cut a run of documents into shorter runs: yield start, end and the spans of each.

    Each run is at most `max_bytes` long, unless it is a single larger document.

    Raises:
        FormatError: as `spans` does.
    """
    batch: list[Span] = []
    begin = 0
    for span in spans(run):
        if batch and (span[1] - begin > max_bytes or len(batch) >= max_documents):
            yield begin, span[0], batch
            batch, begin = [], span[0]
        batch.append(span)
    if batch:
        yield begin, len(run), batch


def elements(run: bytes | memoryview, start: int = 0) -> Iterator[Element]:
    """Yield the top-level elements of the document that begins at `start`.

    Raises:
        FormatError: the document is malformed.
    """
    end = start + _length(run, start, len(run)) - 1
    position = start + 4
    while position < end:
        name_end = _name_end(run, position + 1, end)
        name = bytes(run[position + 1 : name_end])
        value_end = _value_end(run, run[position], name_end + 1, end)
        yield Element(run[position], name, position, name_end + 1, value_end)
        position = value_end


def element(run: bytes | memoryview, name: bytes, start: int = 0) -> Element | None:
    """Return the top-level element of that name in the document that begins at `start`, or None.

    Raises:
        FormatError: the document is malformed.
    """
    return next((found for found in elements(run, start) if found.name == name), None)


def without(data: bytes, *names: bytes) -> bytes:
    """Return a document without some of its top-level fields.

    Raises:
        FormatError: the document is malformed.
    """
    kept = (data[one.start : one.end] for one in elements(data) if one.name not in names)
    return document(*kept)


def _name_end(run: bytes | memoryview, start: int, end: int) -> int:
    for position in range(start, end):
        if not run[position]:
            return position
    raise FormatError(f"the name of the element at byte {start - 1} does not end")


def _value_end(run: bytes | memoryview, kind: int, start: int, end: int) -> int:
    if (fixed := _FIXED.get(kind)) is not None:
        value_end = start + fixed
    elif kind == _REGEX:
        value_end = _name_end(run, _name_end(run, start, end) + 1, end) + 1
    else:
        value_end = start + _variable_length(run, kind, start, end)
    if not start <= value_end <= end:
        raise FormatError(f"the value at byte {start} reaches beyond its document")
    return value_end


def _variable_length(run: bytes | memoryview, kind: int, start: int, end: int) -> int:
    if end - start < 4:
        raise FormatError(f"the value at byte {start} is cut")
    length: int = _unpack_length(run, start)[0]
    if length < 0:
        raise FormatError(f"the value at byte {start} claims a length of {length} bytes")
    if kind in _DOCUMENTS:
        return max(length, MIN_DOCUMENT_BYTES)
    if kind in _STRINGS:
        return 4 + length
    if kind == _BINARY:
        return 5 + length
    if kind == _DBPOINTER:
        return 4 + length + 12
    raise FormatError(f"the element before byte {start} has the unknown type 0x{kind:02x}")


def id_element(run: bytes | memoryview, span: Span) -> bytes | None:
    """Return the bytes of a document's `_id` element (type, name and value), or None.

    Raises:
        FormatError: the document is malformed.
    """
    start, _end = span
    # The server stores _id first, so the search below, 4 times slower, is hardly ever needed.
    if run[start + 5 : start + 9] == b"_id\0":
        value_end = _value_end(run, run[start + 4], start + 9, span[1] - 1)
        return bytes(run[start + 4 : value_end])
    found = element(run, b"_id", start)
    return bytes(run[found.start : found.end]) if found else None


def document(*parts: bytes) -> bytes:
    """Return the document that consists of these elements, given as bytes."""
    length = MIN_DOCUMENT_BYTES + sum(map(len, parts))
    return b"".join((_int32.pack(length), *parts, b"\0"))


def count_in_array(array_bytes: int, documents_bytes: int) -> int:
    """Return the number of documents in an array, from its length and the documents' total length.

    An array is a document with the names "0", "1", "2" and so on. Beside the documents it contains
    5 bytes of its own, and for each document a type byte, the digits of its number and a zero byte.
    So the number of documents can be computed without looking at them.

    Raises:
        FormatError: no number of documents makes these lengths.
    """
    rest = array_bytes - documents_bytes - MIN_DOCUMENT_BYTES
    count, digits, numbers = 0, 1, 10
    while rest > 0:
        here = min(numbers, rest // (digits + 2))
        if not here:
            break
        count += here
        rest -= here * (digits + 2)
        digits, numbers = digits + 1, 9 * 10**digits
    if rest:
        raise FormatError(
            f"an array of {array_bytes} bytes cannot contain documents of {documents_bytes} bytes"
        )
    return count


def reframe(pieces: Iterable[bytes]) -> Iterator[Batch]:
    """Yield batches of whole documents, from bytes that were cut anywhere.

    Raises:
        FormatError: the bytes are not documents, or the last one is cut.
    """
    rest = b""
    position = 0
    for piece in pieces:
        data = rest + piece
        end, count, wrong = _whole(data)
        if count:
            yield Batch(data[:end], count)
        if wrong is not None:
            raise FormatError(f"{wrong} at byte {position + end}")
        rest = data[end:]
        position += end
    if rest:
        raise FormatError(f"the document at byte {position} is cut")


def _whole(data: bytes) -> tuple[int, int, str | None]:
    """Return the end and number of the whole documents, and an error in the bytes after them."""
    end = count = 0
    while len(data) - end >= MIN_DOCUMENT_BYTES:
        length = _unpack_length(data, end)[0]
        if not MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES:
            return end, count, "no document begins"
        if end + length > len(data):
            break
        if data[end + length - 1]:
            return end, count, "a document does not end with a zero, begun"
        end += length
        count += 1
    return end, count, None
