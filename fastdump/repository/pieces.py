"""Pieces: some documents of one collection, stored once under a name that their content gives.

A run of documents is cut where its content says, not at sizes. So what is inserted, deleted or
grows changes the pieces that it is in, and the cuts after it are those of the last backup again:
content-defined chunking, of whole documents. See docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from blake3 import blake3

from fastdump.codec.bson import Batch
from fastdump.codec.gzip import crc32
from fastdump.errors import FormatError

__all__ = ["MAX_BYTES", "PIECES", "Cutter", "key_after", "key_of", "name_in", "name_of"]

PIECES = "pieces"
"""The folder that holds them."""

_MIN_BYTES = 2 * 1024 * 1024
MAX_BYTES = 16 * 1024 * 1024
"""No piece holds more, unless its last document began before the least size of a piece."""
_SHIFT = 10
"""A document begins a piece if its CRC-32 is below its length, shifted so far: on average one in
4 MiB of documents does, however long they are."""

_length_at = Struct("<i").unpack_from

_PREFIX_DIGITS = 2
_NAME_BYTES = 32


def name_of(batches: Sequence[Batch], key: bytes) -> bytes:
    """Return the name of a piece: the BLAKE3 of its documents, keyed with that of the repository.

    How they came in batches does not matter.
    """
    digest = blake3(key=key)
    for batch in batches:
        digest.update(batch.data)
    return digest.digest()


def key_after(key: bytes, generations: Iterable[str]) -> bytes:
    """Return the key of names that follows another, after a repository was encrypted for others.

    So a piece is never taken for one that is encrypted for others: their names differ.

    Args:
        key: the key of names before.
        generations: the words of the generations since then, in their order.
    """
    for generation in generations:
        key = blake3(generation.encode(), key=key).digest()
    return key


def key_of(name: bytes) -> str:
    """Return the key of the object that holds a piece."""
    digits = name.hex()
    return f"{PIECES}/{digits[:_PREFIX_DIGITS]}/{digits}"


def name_in(key: str) -> bytes | None:
    """Return the name of the piece that an object holds; None if its key is not that of a piece."""
    digits = key.rpartition("/")[2]
    try:
        name = bytes.fromhex(digits)
    except ValueError:
        return None
    return name if len(name) == _NAME_BYTES and key == key_of(name) else None


class Cutter:
    """Cuts a run of documents into pieces, in the same places whatever batches they come in."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._size = 0

    def add(self, batch: Batch) -> Iterator[list[Batch]]:
        """Take some documents, and yield the pieces that end before one of them.

        Raises:
            FormatError: these are no documents.
        """
        start = documents = 0
        while self._size + len(batch.data) - start >= _MIN_BYTES:
            found = _next_cut(batch.data, start, self._size)
            if found is None:
                break
            end, between = found
            self._keep(Batch(batch.data[start:end], between))
            yield self.end()
            start, documents = end, documents + between
        rest = batch.data[start:] if start else batch.data
        self._keep(Batch(rest, batch.documents - documents))

    def end(self) -> list[Batch]:
        """Return the last piece; empty if there is none."""
        piece, self._batches, self._size = self._batches, [], 0
        return piece

    def _keep(self, batch: Batch) -> None:
        if batch.data:
            self._batches.append(batch)
            self._size += len(batch.data)


def _next_cut(run: bytes, start: int, size: int) -> tuple[int, int] | None:
    """Return the first document of a run before which a piece ends, and how many come before it.

    Args:
        run: documents.
        start: where to begin.
        size: how many bytes the piece has without them.

    Raises:
        FormatError: these are no documents.
    """
    view, position, documents, end = memoryview(run), start, 0, len(run)
    earliest, latest = start + _MIN_BYTES - size, start + MAX_BYTES - size
    # This loop runs once for every document, so it looks at lengths only.
    while position < end:
        following = position + (_length_at(run, position)[0] if end - position >= 4 else 0)
        if not position < following <= end:
            raise FormatError(f"the document at byte {position} is cut")
        if position >= earliest and (
            crc32(view[position:following]) < (following - position) << _SHIFT
            or (following > latest and (position > start or size))
        ):
            return position, documents
        position = following
        documents += 1
    return None
