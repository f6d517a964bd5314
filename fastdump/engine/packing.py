"""From batches of documents to the bytes of a part file, and what they sum up to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from fastdump.codec import gzip
from fastdump.codec.bson import Batch
from fastdump.model import Catalog, Chunk, Encoding, Losses, Part
from fastdump.mongo import ejson

__all__ = ["LinePacker", "MemberPacker", "describe_losses", "packer"]


class MemberPacker:
    """Each batch becomes a gzip member of BSON."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._digests: list[bytes] = []
        self._documents = self._raw_bytes = self._file_bytes = 0

    def pack(self, batch: Batch) -> bytes:
        """What goes into the file for that batch."""
        packed = self._packed(batch)
        self._documents += batch.documents
        self._raw_bytes += len(batch.data)
        self._file_bytes += len(packed)
        return packed

    def part(self, path: Path, seconds: float) -> Part:
        """What was packed so far."""
        return Part(
            path,
            self._documents,
            self._raw_bytes,
            self._file_bytes,
            seconds,
            b"".join(self._digests),
        )

    def _packed(self, batch: Batch) -> bytes:
        member = gzip.pack(batch, self._level)
        self._digests.append(blake3(member).digest())
        return member


class LinePacker(MemberPacker):
    """Each batch becomes a piece of the one gzip member of JSON lines that a collection has."""

    def __init__(self, level: int, *, first: bool) -> None:
        super().__init__(level)
        self._begin = gzip.STREAM_HEADER if first else b""
        self._crc = self._text_bytes = self._other_ids = 0
        self._inexact: list[str] = []

    def part(self, path: Path, seconds: float) -> Part:
        """What was packed so far."""
        first = self._inexact[0] if self._inexact else None
        return replace(
            super().part(path, seconds),
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
        return begin + gzip.piece(text, self._level)


def packer(encoding: Encoding, level: int, chunk: Chunk) -> MemberPacker:
    """The packer for a chunk."""
    if encoding is Encoding.JSON:
        return LinePacker(level, first=chunk.number == 0)
    return MemberPacker(level)


def describe_losses(catalog: Catalog, losses: Mapping[str, Sequence[Losses]]) -> Iterator[str]:
    """What a backup in JSON lines cannot carry, and what Komodo's own restore makes of it.

    Args:
        catalog: what was backed up.
        losses: of each part, by the collection's name.
    """
    for name, found in losses.items():
        if inexact := sum(one.inexact for one in found):
            first = next(one.first for one in found if one.first is not None)
            yield (
                f"{name}: {inexact:,} documents hold deprecated types or text that is no UTF-8, "
                f"which JSON changes; the first is {first}"
            )
        if other_ids := sum(one.other_ids for one in found):
            yield (
                f"{name}: {other_ids:,} documents have an _id that is no ObjectId; "
                "Komodo's own restore skips them without a word"
            )
    kept = [
        *(f"the indexes of {found.name}" for found in catalog.collections if found.indexes),
        *(f"the options of {found.name}" for found in catalog.collections if found.options != "{}"),
    ]
    if kept:
        yield (
            "only fastdump's restore reads manifest.json; Komodo's own leaves out "
            f"{', '.join(kept)}"
        )
    yield (
        "Komodo's own restore sorts the fields of a document by name, makes 64-bit integers of "
        "negative 32-bit ones, and may change the last digit of a double"
    )
