"""Documents as one object of a repository: frames, each of which can be unpacked by itself.

Whatever compressed it, an object is read a megabyte at a time. Its first bytes say what it is made
of: gzip members (`codec.gzip`), a frame of Zstandard (RFC 8878), or nothing but BSON, whose first
bytes are a length that no document can have where the others begin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from fastdump.codec import bson, gzip
from fastdump.codec.bson import Batch
from fastdump.errors import FormatError
from fastdump.model import GZIP, ZSTD, Compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["MAX_RAW_BYTES", "pack", "unpack"]

MAX_RAW_BYTES = 64 * 1024 * 1024
"""Largest size of the documents of an object; what claims more would only cost memory."""

_PLAIN_BYTES = 1024 * 1024
"""Number of bytes of documents that are read in one go."""

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def pack(batches: Sequence[Batch], compression: Compression) -> bytes:
    """Return an object with the documents of these batches."""
    if compression.method == GZIP:
        return b"".join(gzip.pack(batch, compression.effort) for batch in batches)
    data = b"".join(batch.data for batch in batches)
    if compression.method == ZSTD:
        return _zstd_frame(data, compression.effort)
    return data


def _zstd_frame(data: bytes, level: int) -> bytes:
    parameter = zstd.CompressionParameter
    return zstd.compress(
        data, options={parameter.compression_level: level, parameter.checksum_flag: 1}
    )


def unpack(data: bytes) -> Iterator[Batch]:
    """Yield the documents of an object.

    Raises:
        FormatError: a frame is cut or damaged; what came before was yielded.
    """
    if data[:4] == gzip.MAGIC:
        return _members(data)
    return _cut(_inflated(data) if data[:4] == _ZSTD_MAGIC else data)


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


def _inflated(data: bytes) -> bytes:
    """Return what is in a frame of Zstandard, which must be all that there is."""
    decompressor = zstd.ZstdDecompressor()
    try:
        raw = decompressor.decompress(data, MAX_RAW_BYTES)
    except zstd.ZstdError as error:
        raise FormatError(f"the frame cannot be read: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise FormatError("the frame is cut, or something follows it")
    return raw


def _cut(data: bytes) -> Iterator[Batch]:
    for start, end, documents in bson.cuts(data, _PLAIN_BYTES):
        yield Batch(data[start:end], documents)
