"""The format of mongodump's archive: the documents of many collections, interleaved in one stream.

    magic number, header, description of each collection, terminator
    block: its namespace, documents one after another, terminator
    ...
    end of a namespace: a block without documents, with the CRC-64 of all its documents

Everything but the magic number and the terminators is BSON. A terminator is the impossible length
-1, so the stream can be read document by document. Blocks of different namespaces may come in any
order.

Source: MongoDB Database Tools of August 2026, common/archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import anycrc

from fastdump.codec.bson import (
    MAX_DOCUMENT_BYTES,
    MIN_DOCUMENT_BYTES,
    Batch,
    document,
    element,
    elements,
)
from fastdump.errors import FormatError
from fastdump.model import Bson, Namespace

__all__ = [
    "MAGIC",
    "Block",
    "Described",
    "End",
    "Prelude",
    "Reader",
    "block",
    "combined",
    "crc64",
    "end",
    "prelude",
]

MAGIC = b"\x6d\xe2\x99\x81"
"""The magic number 0x8199e26d, little-endian."""

_TERMINATOR = b"\xff\xff\xff\xff"
_VERSION = "0.1"
_EXACT = b"fastdump"
_STRING, _DOCUMENT, _ARRAY, _BOOLEAN, _INT32, _INT64 = 0x02, 0x03, 0x04, 0x08, 0x10, 0x12
_int32, _uint64 = Struct("<i"), Struct("<Q")

# CRC-64/XZ is what Go calls the ECMA polynomial.
_CRC = anycrc.Model("CRC64-XZ")


class Described(NamedTuple):
    """Description of a collection in the head of an archive."""

    namespace: Namespace
    metadata: bytes
    """Text of its `.metadata.json`; empty if it has none."""
    kind: str
    """Its type; empty in archives of mongodump before 4.4, in which only the metadata tell it."""
    exact: tuple[Bson, ...] = ()
    """Its options and then its indexes as BSON, which the text cannot always express: a field of
    fastdump's own, which other readers skip."""


class Prelude(NamedTuple):
    """The head of an archive."""

    server_version: str
    tool_version: str
    collections: tuple[Described, ...]


class Block(NamedTuple):
    """Batch of documents of a namespace."""

    namespace: Namespace
    batch: Batch


class End(NamedTuple):
    """End of a namespace: all its documents were read."""

    namespace: Namespace
    intact: bool
    """True if the CRC of its documents is the one in the archive."""


def crc64(data: bytes) -> int:
    """Return the CRC-64 of some documents."""
    return int(_CRC.calc(data))


def combined(parts: Iterable[tuple[int, int]]) -> int:
    """Return the CRC-64 of a whole, from the CRC and the length in bytes of its parts in order."""
    crc = 0
    for crc_of_part, length in parts:
        crc = _CRC.combine(crc, crc_of_part, length)
    return crc


def prelude(
    concurrent: int, server_version: str, tool_version: str, collections: Sequence[Described]
) -> bytes:
    """Return the beginning of an archive.

    Args:
        concurrent: the number of namespaces that may be open at once; mongorestore restores that
            many at a time.
        server_version: the version of the server that was read.
        tool_version: the name and version of this program.
        collections: the description of each collection.
    """
    head = document(
        _number(b"concurrent_collections", concurrent),
        _text(b"version", _VERSION.encode()),
        _text(b"server_version", server_version.encode()),
        _text(b"tool_version", tool_version.encode()),
    )
    return b"".join((MAGIC, head, *map(_described, collections), _TERMINATOR))


def _described(collection: Described) -> bytes:
    return document(
        _text(b"db", collection.namespace.database.encode()),
        _text(b"collection", collection.namespace.collection.encode()),
        _text(b"metadata", collection.metadata),
        _number(b"size", 0),
        _text(b"type", collection.kind.encode()),
        b"%c%b\0%b" % (_ARRAY, _EXACT, _array(collection.exact)),
    )


def _array(documents: Iterable[Bson]) -> bytes:
    return document(*(b"%c%d\0%b" % (_DOCUMENT, place, one) for place, one in enumerate(documents)))


def block(namespace: Namespace, documents: bytes) -> bytes:
    """Return the block of an archive that contains some documents of a namespace."""
    return b"".join((_header(namespace, 0, ended=False), documents, _TERMINATOR))


def end(namespace: Namespace, crc: int) -> bytes:
    """Return the end of a namespace, with the CRC-64 of all its documents."""
    return _header(namespace, crc, ended=True) + _TERMINATOR


def _header(namespace: Namespace, crc: int, *, ended: bool) -> bytes:
    return document(
        _text(b"db", namespace.database.encode()),
        _text(b"collection", namespace.collection.encode()),
        b"%cEOF\0%c" % (_BOOLEAN, ended),
        b"%cCRC\0%b" % (_INT64, _uint64.pack(crc)),
    )


def _text(name: bytes, value: bytes) -> bytes:
    return b"%c%b\0%b%b\0" % (_STRING, name, _int32.pack(len(value) + 1), value)


def _number(name: bytes, value: int) -> bytes:
    return b"%c%b\0%b" % (_INT32, name, _int32.pack(value))


class Reader:
    """Reader of an archive from a stream, which holds little more than one document in memory.

    Args:
        pieces: the uncompressed bytes of the archive, cut anywhere.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._data = b""
        self._at = 0
        self._offset = 0
        """Offset in the archive of the first byte in `_data`."""
        self._crcs: dict[Namespace, int | None] = {}
        """CRC-64 of each namespace so far; None after its end."""

    @property
    def position(self) -> int:
        """The number of bytes of the archive that were parsed."""
        return self._offset + self._at

    def prelude(self) -> Prelude:
        """Read and return the head, which must be done first.

        Raises:
            FormatError: this is not an archive.
        """
        if not self._has(len(MAGIC)) or self._data[: len(MAGIC)] != MAGIC:
            raise FormatError("this is not an archive of mongodump")
        self._at = len(MAGIC)
        head = self._document()
        if head is None:
            raise self._wrong("the archive has no header")
        found = []
        while (described := self._document()) is not None:
            found.append(self._described(described))
        self._crcs = {one.namespace: 0 for one in found}
        server, tool = (self._string(head, name) for name in (b"server_version", b"tool_version"))
        return Prelude(server, tool, tuple(found))

    def blocks(self, known: Iterable[Namespace]) -> Iterator[Block | End]:
        """Yield all documents, and the end of each namespace.

        Args:
            known: the namespaces that may have documents.

        Raises:
            FormatError: the archive is cut or damaged; everything before that was yielded.
        """
        self._crcs = dict.fromkeys(known, 0)
        while self._has(1):
            yield from self._block()
        unfinished = [str(name) for name, crc in self._crcs.items() if crc is not None]
        if unfinished:
            raise self._wrong(f"the archive ends before the end of {', '.join(unfinished[:3])}")

    def _block(self) -> Iterator[Block | End]:
        header = self._document()
        if header is None:
            raise self._wrong("a block has no header")
        namespace = Namespace(*(self._string(header, name) for name in (b"db", b"collection")))
        crc = self._crcs.get(namespace)
        if crc is None:
            state = "has already ended" if namespace in self._crcs else "is not in the head"
            raise self._wrong(f"a block belongs to {namespace}, which {state}")
        for batch in self._batches():
            crc = int(_CRC.calc(batch.data, crc))
            self._crcs[namespace] = crc
            yield Block(namespace, batch)
        if self._flag(header, b"EOF"):
            self._crcs[namespace] = None
            yield End(namespace, self._value(header, b"CRC", _INT64) == _uint64.pack(crc))

    def _batches(self) -> Iterator[Batch]:
        """Yield the documents up to the terminator, in batches of those that are in memory."""
        while True:
            stop, count, ended = self._whole()
            if count:
                yield Batch(self._data[self._at : stop], count)
                self._at = stop
            if ended:
                self._at += len(_TERMINATOR)
                return
            self._need(self._length())

    def _whole(self) -> tuple[int, int, bool]:
        """Return the end and number of the whole documents, and True if a terminator follows."""
        data, at, size, count = self._data, self._at, len(self._data), 0
        while size - at >= _int32.size:
            length = _int32.unpack_from(data, at)[0]
            if length == -1:
                return at, count, True
            if not MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES:
                self._at = at
                raise self._wrong(f"a document claims a length of {length} bytes")
            if length > size - at:
                break
            if data[at + length - 1]:
                self._at = at
                raise self._wrong("a document does not end with a zero")
            at += length
            count += 1
        return at, count, False

    def _document(self) -> bytes | None:
        """Return the next document; None for a terminator."""
        length = self._length()
        if length == -1:
            self._at += len(_TERMINATOR)
            return None
        self._need(length)
        found = self._data[self._at : self._at + length]
        self._at += length
        return found

    def _length(self) -> int:
        """Return the length of the next document; -1 for a terminator."""
        self._need(_int32.size)
        length: int = _int32.unpack_from(self._data, self._at)[0]
        if length != -1 and not MIN_DOCUMENT_BYTES <= length <= MAX_DOCUMENT_BYTES:
            raise self._wrong(f"a document claims a length of {length} bytes")
        return length

    def _need(self, size: int) -> None:
        if not self._has(size):
            raise self._wrong("the archive is cut")

    def _has(self, size: int) -> bool:
        """Get at least that many bytes into memory; return False if fewer are left."""
        if len(self._data) - self._at >= size:
            return True
        held = [self._data[self._at :]]
        self._offset += self._at
        have, self._at = len(held[0]), 0
        while have < size and (piece := next(self._pieces, b"")):
            held.append(piece)
            have += len(piece)
        self._data = b"".join(held)
        return have >= size

    def _described(self, found: bytes) -> Described:
        database, name, text = (
            self._string(found, field) for field in (b"db", b"collection", b"metadata")
        )
        # mongodump writes the type only since 4.4.
        kind = self._string(found, b"type") if element(found, b"type") is not None else ""
        return Described(Namespace(database, name), text.encode(), kind, self._exact(found))

    def _exact(self, found: bytes) -> tuple[Bson, ...]:
        if element(found, _EXACT) is None:
            return ()
        array = self._value(found, _EXACT, _ARRAY)
        listed = list(elements(array))
        if any(one.kind != _DOCUMENT for one in listed):
            raise self._wrong("a definition is not a document")
        return tuple(array[one.value : one.end] for one in listed)

    def _string(self, found: bytes, name: bytes) -> str:
        raw = self._value(found, name, _STRING)
        try:
            return raw[_int32.size : -1].decode()
        except UnicodeDecodeError:
            raise self._wrong(f"the field {name.decode()} is not valid text") from None

    def _flag(self, found: bytes, name: bytes) -> bool:
        return self._value(found, name, _BOOLEAN) == b"\1"

    def _value(self, found: bytes, name: bytes, kind: int) -> bytes:
        """Return the bytes of a field; raise a FormatError if it is missing or of another type."""
        try:
            field = element(found, name)
        except FormatError as error:
            raise self._wrong(str(error)) from None
        if field is None or field.kind != kind:
            raise self._wrong(
                f"the field {name.decode()} of a header is missing or has a wrong type"
            )
        return found[field.value : field.end]

    def _wrong(self, message: str) -> FormatError:
        return FormatError(f"{message}, at byte {self.position}")
