"""Turn batches of documents into the bytes of a backup, and add up their counts and digests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from blake3 import blake3

from fastdump.codec import archive, gzip
from fastdump.codec.bson import Batch, id_element, spans
from fastdump.model import (
    NO_OPTIONS,
    ArchivedBlock,
    Catalog,
    Chunk,
    Encoding,
    Losses,
    Namespace,
    Part,
)
from fastdump.mongo import ejson

__all__ = ["Packer", "at_least_one", "describe_losses", "packer"]

_KEY_BYTES = 16


class Packer(ABC):
    """Base of all packers: turns the batches of one chunk into bytes of the backup."""

    def __init__(self, level: int | None) -> None:
        self._level = level
        self._documents = self._raw_bytes = self._file_bytes = 0
        self._first, self._last = b"", Batch(b"", 0)

    def pack(self, batch: Batch) -> bytes:
        """Return the bytes to write for a batch."""
        packed = self._packed(batch)
        if batch.documents:
            self._first = self._first or _key(batch, 0)
            self._last = batch
        self._documents += batch.documents
        self._raw_bytes += len(batch.data)
        self._file_bytes += len(packed)
        return packed

    def part(self, seconds: float, places: Sequence[int]) -> Part:  # noqa: ARG002 - of blocks only
        """Return the counts, sizes and digests of everything packed so far.

        Args:
            seconds: how long the chunk took.
            places: the position of each batch in the output, as `write` returned it.
        """
        return Part(
            self._documents,
            self._raw_bytes,
            self._file_bytes,
            seconds,
            first=self._first,
            last=_key(self._last, -1) if self._last.documents else b"",
        )

    @abstractmethod
    def _packed(self, batch: Batch) -> bytes: ...


def _key(batch: Batch, place: int) -> bytes:
    """Return a hash that stands for the `_id` of one document of the batch; empty without `_id`."""
    identity = id_element(batch.data, spans(batch.data)[place])
    return b"" if identity is None else blake3(identity).digest(_KEY_BYTES)


class _Members(Packer):
    """Packer that makes a gzip member of BSON from each batch."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._gzip_level = level
        self._digests: list[bytes] = []

    def part(self, seconds: float, places: Sequence[int]) -> Part:
        """Return the counts, sizes and digests of everything packed so far."""
        return replace(super().part(seconds, places), member_digests=b"".join(self._digests))

    def _packed(self, batch: Batch) -> bytes:
        member = gzip.pack(batch, self._gzip_level)
        self._digests.append(blake3(member).digest())
        return member


class _Hashed(Packer):
    """Base of packers whose output has one digest, since it does not consist of gzip members."""

    def __init__(self, level: int | None) -> None:
        super().__init__(level)
        self._hash = blake3()

    def pack(self, batch: Batch) -> bytes:
        """Return the bytes to write for a batch."""
        packed = super().pack(batch)
        self._hash.update(packed)
        return packed

    def part(self, seconds: float, places: Sequence[int]) -> Part:
        """Return the counts, sizes and digests of everything packed so far."""
        return replace(super().part(seconds, places), digest=self._hash.hexdigest())


class _Plain(_Hashed):
    """Packer that writes documents as they are."""

    def _packed(self, batch: Batch) -> bytes:
        return batch.data


class _Whole(Packer):
    """Documents stay as they are, and are hashed by who makes pieces of them."""

    def _packed(self, batch: Batch) -> bytes:
        return batch.data


class _Blocks(Packer):
    """Packer that makes a block of an archive from each batch, each in its own gzip member."""

    def __init__(self, level: int | None, namespace: Namespace) -> None:
        super().__init__(level)
        self._namespace = namespace
        self._blocks: list[tuple[int, int]] = []

    def part(self, seconds: float, places: Sequence[int]) -> Part:
        """Return the counts, sizes and digests of everything packed so far."""
        blocks = tuple(
            ArchivedBlock(place, *block) for place, block in zip(places, self._blocks, strict=True)
        )
        return replace(super().part(seconds, places), blocks=blocks)

    def _packed(self, batch: Batch) -> bytes:
        self._blocks.append((archive.crc64(batch.data), len(batch.data)))
        block = archive.block(self._namespace, batch.data)
        if self._level is None:
            return block
        return gzip.pack(Batch(block, batch.documents), self._level)


class _Lines(_Hashed):
    """Packer that makes JSON lines from each batch, all in the collection's one gzip member."""

    def __init__(self, level: int, *, first: bool) -> None:
        super().__init__(level)
        self._gzip_level = level
        self._begin = gzip.STREAM_HEADER if first else b""
        self._crc = self._text_bytes = self._other_ids = 0
        self._inexact: list[str] = []

    def part(self, seconds: float, places: Sequence[int]) -> Part:
        """Return the counts, sizes and digests of everything packed so far."""
        first = self._inexact[0] if self._inexact else None
        return replace(
            super().part(seconds, places),
            text_crc=self._crc,
            text_bytes=self._text_bytes,
            losses=Losses(len(self._inexact), first, self._other_ids),
        )

    def _packed(self, batch: Batch) -> bytes:
        text, inexact, other_ids = ejson.encode(batch)
        self._crc = gzip.crc32(text, self._crc)
        self._text_bytes += len(text)
        self._other_ids += other_ids
        self._inexact += inexact
        begin, self._begin = self._begin, b""
        return begin + gzip.piece(text, self._gzip_level)


def packer(encoding: Encoding, level: int | None, chunk: Chunk) -> Packer:
    """Return the packer for a chunk; with a level of None it does not compress."""
    if encoding is Encoding.ARCHIVE:
        return _Blocks(level, chunk.target)
    if encoding is Encoding.PIECES:
        return _Whole(level)
    if level is None:
        return _Plain(level)
    if encoding is Encoding.JSON:
        return _Lines(level, first=chunk.number == 0)
    return _Members(level)


def at_least_one(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the batches; one empty batch if there are none, for a valid gzip file."""
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        yield Batch(b"", 0)


def describe_losses(
    catalog: Catalog, losses: Mapping[Namespace, Sequence[Losses]]
) -> Iterator[str]:
    """Yield notes on what JSON lines cannot hold, and on how Komodo's own restore reads them.

    Args:
        catalog: the collections that were backed up.
        losses: the losses of each part, by collection.
    """
    for (_database, name), found in losses.items():
        if inexact := sum(one.inexact for one in found):
            first = next(one.first for one in found if one.first is not None)
            yield (
                f"{name}: {inexact:,} documents will not be restored exactly, because they contain "
                'deprecated types, text that is not UTF-8, objects such as {"$oid": …} (which mean '
                f"something else in JSON), or no _id; the first is {first}"
            )
        if other_ids := sum(one.other_ids for one in found):
            yield (
                f"{name}: {other_ids:,} documents have an _id that is not an ObjectId; "
                "Komodo's own restore skips them without a message"
            )
    kept = [
        *(f"the indexes of {found.name}" for found in catalog.collections if found.indexes),
        *(
            f"the options of {found.name}"
            for found in catalog.collections
            if found.options != NO_OPTIONS
        ),
    ]
    if kept:
        yield (
            "only fastdump's restore reads manifest.json; Komodo's own restore leaves out "
            f"{', '.join(kept)}"
        )
    yield (
        "Komodo's own restore sorts the fields of a document by name, turns negative 32-bit "
        "integers into 64-bit ones, and may change the last digit of a double"
    )
