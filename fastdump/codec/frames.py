"""Documents as one object of a repository: frames, each of which can be unpacked by itself.

A run of frames is read as a stream of about a megabyte at a time, whatever compressed it. The first
bytes of an object say what it is made of: gzip members (`codec.gzip`), or nothing but BSON, whose
first bytes are a length that no document can have where a gzip member begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastdump.codec import bson, gzip
from fastdump.codec.bson import Batch
from fastdump.errors import FormatError

__all__ = ["pack", "unpack"]

_PLAIN_BYTES = 1024 * 1024
"""Number of bytes of an uncompressed object that are read in one go."""


def pack(batches: Iterable[Batch], level: int | None) -> bytes:
    """Return an object with the documents of these batches, a frame for each.

    Args:
        batches: the documents.
        level: of compression, one of `fastdump.model.LEVELS`; None does not compress.
    """
    if level is None:
        return b"".join(batch.data for batch in batches)
    return b"".join(gzip.pack(batch, level) for batch in batches)


def unpack(data: bytes) -> Iterator[Batch]:
    """Yield the documents of an object.

    Raises:
        FormatError: a frame is cut or damaged; what came before was yielded.
    """
    if data[:4] == gzip.MAGIC:
        return _members(data)
    return _plain(data)


def _members(data: bytes) -> Iterator[Batch]:
    offset = 0
    while offset < len(data):
        member = gzip.header(data[offset : offset + gzip.HEADER_BYTES], offset)
        end = offset + member.file_bytes
        raw = gzip.unpack(data[offset:end], member)
        if len(bson.spans(raw)) != member.documents:
            raise FormatError(f"the member at byte {offset} does not hold {member.documents}")
        yield Batch(raw, member.documents)
        offset = end


def _plain(data: bytes) -> Iterator[Batch]:
    for start, end, documents in bson.cuts(data, _PLAIN_BYTES):
        yield Batch(data[start:end], documents)
