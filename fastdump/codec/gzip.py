"""Write and read gzip members with their length in the header, so that a reader can skip them.

A file of a backup is a run of such members, each with some whole documents. For other programs it
is an ordinary gzip file (RFC 1952, section 2.2). fastdump adds the extra field of the header, with
the subfield `FD`, three little-endian unsigned 32-bit integers:

    length of the whole member, length of its raw data, number of documents in it

The rest of the header is constant, so that every bit of it can be checked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import Struct
from typing import BinaryIO, cast

from isal import igzip_lib, isal_zlib

from fastdump.codec.bson import Batch
from fastdump.errors import FormatError
from fastdump.model import Member

__all__ = [
    "HEADER_BYTES",
    "MAGIC",
    "MAX_RAW_BYTES",
    "STREAM_BYTES",
    "STREAM_HEADER",
    "USUAL_RATIO",
    "crc32",
    "has_members",
    "header",
    "inflated",
    "intact_members",
    "members",
    "pack",
    "piece",
    "stream",
    "stream_end",
    "unpack",
]


MAX_RAW_BYTES = 64 * 1024 * 1024
"""Largest raw size of a member: a reader refuses a larger one before it reserves memory for it."""

_PREFIX = Struct("<4sIBB")  # magic, method and flags; modification time; extra flags; system
_EXTRA = Struct("<H2sH3I")  # length of all extra fields; our subfield, its length, its content
_TRAILER = Struct("<II")
MAGIC = b"\x1f\x8b\x08\x04"
"""Beginning of our members: gzip, deflate, with an extra field and nothing else."""
_SYSTEM_UNKNOWN = 255
_SUBFIELD = b"FD"
_CONSTANT = _PREFIX.pack(MAGIC, 0, 0, _SYSTEM_UNKNOWN) + _EXTRA.pack(16, _SUBFIELD, 12, 0, 0, 0)[:6]
HEADER_BYTES = _PREFIX.size + _EXTRA.size
_RAW_DEFLATE = -15
STREAM_BYTES = 1024 * 1024
"""Size of one read from a stream, in bytes."""

USUAL_RATIO = 5
"""Assumed ratio of raw bytes to bytes of a gzip file that does not contain its raw size."""
_READ_BYTES = 256 * 1024
"""Size of one read from a gzip file, in bytes: a file that is cut loses up to this much more."""

# isal's type stubs call it an instance.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)


def pack(batch: Batch, level: int) -> bytes:
    """Return a member with the documents of a batch; `level` is one of `fastdump.model.LEVELS`."""
    data, documents = batch
    deflated = isal_zlib.compress(data, level, _RAW_DEFLATE)
    total = HEADER_BYTES + len(deflated) + _TRAILER.size
    return b"".join(
        (
            _PREFIX.pack(MAGIC, 0, 0, _SYSTEM_UNKNOWN),
            _EXTRA.pack(16, _SUBFIELD, 12, total, len(data), documents),
            deflated,
            _TRAILER.pack(isal_zlib.crc32(data), len(data)),
        )
    )


STREAM_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Beginning of a gzip file of one ordinary member: no name, no time, system unknown."""

_LAST_BLOCK = b"\x03\0"  # of deflate: final, with fixed codes, empty


def piece(data: bytes, level: int) -> bytes:
    """Return a piece of the deflated data of one ordinary member, which other pieces can follow.

    Many readers, Komodo's restore among them, read only the first member of a gzip file. So files
    for them are one member, joined from pieces that end at a byte boundary (RFC 1951, 3.2.4).
    """
    deflate = isal_zlib.compressobj(level, isal_zlib.DEFLATED, _RAW_DEFLATE)
    return b"".join((deflate.compress(data), deflate.flush(isal_zlib.Z_SYNC_FLUSH)))


def stream_end(pieces: Iterable[tuple[int, int]]) -> bytes:
    """Return the end of a member of pieces, from the CRC-32 and length of each piece's raw data."""
    crc = total = 0
    for crc_of_piece, length in pieces:
        crc = isal_zlib.crc32_combine(crc, crc_of_piece, length)
        total += length
    return _LAST_BLOCK + _TRAILER.pack(crc, total % 2**32)


def crc32(data: bytes | memoryview, crc: int = 0) -> int:
    """Return the CRC-32 that gzip writes in its trailer."""
    return isal_zlib.crc32(data, crc)


def has_members(start: bytes) -> bool:
    """Return True if a file with this beginning consists of our members."""
    return len(start) >= HEADER_BYTES and start[: len(_CONSTANT)] == _CONSTANT


def header(data: bytes, offset: int) -> Member:
    """Parse the header of a member, read at `offset` of its file.

    Raises:
        FormatError: the data is not a header of ours, or its lengths are impossible.
    """
    if not has_members(data):
        raise FormatError(f"no member begins at byte {offset}")
    _all, _id, _length, total, raw_bytes, documents = _EXTRA.unpack_from(data, _PREFIX.size)
    # Data that cannot be compressed grows a little; a larger length is false and would cost memory.
    longest = HEADER_BYTES + _TRAILER.size + raw_bytes + raw_bytes // 8 + 1024
    shortest = HEADER_BYTES + _TRAILER.size + 1
    if not shortest <= total <= longest or raw_bytes > MAX_RAW_BYTES or documents > raw_bytes:
        raise FormatError(f"the member at byte {offset} claims impossible lengths")
    return Member(offset, total, raw_bytes, documents)


def members(descriptor: int, offset: int, end: int) -> Iterator[Member]:
    """Yield the members of an open file from `offset` to `end`; only headers are read.

    Raises:
        FormatError: a member is cut, or there is something else between members.
    """
    while offset < end:
        member = header(os.pread(descriptor, HEADER_BYTES, offset), offset)
        if member.file_bytes > end - offset:
            raise FormatError(f"the member at byte {offset} is cut")
        yield member
        offset += member.file_bytes


def intact_members(descriptor: int, size: int, lost: list[str]) -> Iterator[Member]:
    """Yield the members of a damaged open file; after a damage, search for the next member.

    Args:
        descriptor: the file.
        size: its length in bytes.
        lost: gets a message for each damaged range.
    """
    offset = 0
    with mmap(descriptor, 0, access=ACCESS_READ) as data:
        while offset < size:
            try:
                member = next(members(descriptor, offset, size))
            except FormatError as error:
                following = data.find(_CONSTANT, offset + 1)
                end = following if following >= 0 else size
                lost.append(f"{error} ({end - offset} bytes of the file lost)")
                offset = end
            else:
                yield member
                offset += member.file_bytes


def unpack(data: bytes, member: Member) -> bytes:
    """Return the raw bytes of a member, after checking its header, its size and its CRC.

    Raises:
        FormatError: the data is cut or was changed.
    """
    where = f"the member at byte {member.offset}"
    if len(data) != member.file_bytes or header(data[:HEADER_BYTES], member.offset) != member:
        raise FormatError(f"{where} is cut or its header has changed")
    # One byte more than the header says is enough to notice that a member contains more.
    inflate = isal_zlib.decompressobj(_RAW_DEFLATE)
    try:
        raw = inflate.decompress(memoryview(data)[HEADER_BYTES:], member.raw_bytes + 1)
    except _IsalError as error:
        raise FormatError(f"{where} cannot be inflated: {error}") from error
    trailer = inflate.unused_data
    if not inflate.eof or len(trailer) != _TRAILER.size or len(raw) != member.raw_bytes:
        raise FormatError(f"{where} does not contain the {member.raw_bytes} bytes of its header")
    if _TRAILER.unpack(trailer) != (isal_zlib.crc32(raw), len(raw)):
        raise FormatError(f"{where} fails its CRC")
    return raw


def stream(path: Path) -> Iterator[bytes]:
    """Yield the raw bytes of any gzip file, about a megabyte at a time.

    Raises:
        FormatError: the file is cut, damaged, or not gzip; everything that could be inflated before
            that was yielded.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise FormatError("the file is empty, so it is not a gzip file")
        yield from inflated(file)


def inflated(file: BinaryIO) -> Iterator[bytes]:
    """Yield the raw bytes of an open gzip file or pipe, about a megabyte at a time.

    Raises:
        FormatError: as `stream` does.
        OSError: the file cannot be read.
    """
    position, rest = 0, b""
    while rest := rest or file.read(_READ_BYTES):
        inflate = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        while not inflate.eof:
            if inflate.needs_input and not rest:
                rest = file.read(_READ_BYTES)
                if not rest:
                    raise FormatError(f"after {position} inflated bytes: the file is cut")
            try:
                piece = inflate.decompress(rest, STREAM_BYTES)
            except _IsalError as error:
                raise FormatError(f"after {position} inflated bytes: {error}") from error
            rest = b""
            position += len(piece)
            if piece:
                yield piece
        # Zeros after a member are padding (gzip's own manual, section 8).
        rest = inflate.unused_data.lstrip(b"\0")
