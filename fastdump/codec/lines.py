"""Split a stream of text into blocks of whole lines, each with the number of its first line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastdump.errors import FormatError

__all__ = ["MAX_LINE_BYTES", "Lines", "blocks", "is_text"]

MAX_LINE_BYTES = 128 * 1024 * 1024
"""Longest line in bytes: a document has at most 16 MiB, and as JSON several times that."""

_LOOK_BYTES = 64


class Lines(NamedTuple):
    """Block of whole lines."""

    text: bytes
    first: int
    """Number of the first line, counted from 1."""


def is_text(start: bytes) -> bool:
    """Return True if a file with this beginning contains text; BSON soon has zero bytes."""
    return bool(start) and b"\0" not in start[:_LOOK_BYTES]


def blocks(pieces: Iterable[bytes]) -> Iterator[Lines]:
    """Yield whole lines, from bytes that were cut anywhere; the last line needs no line feed.

    Raises:
        FormatError: a line is too long to be a document.
    """
    held: list[bytes] = []
    held_bytes, number = 0, 1
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if end:
            text = b"".join((*held, piece[:end]))
            yield Lines(text, number)
            number += text.count(b"\n")
            held, held_bytes = [], 0
        held.append(piece[end:])
        held_bytes += len(piece) - end
        if held_bytes > MAX_LINE_BYTES:
            raise FormatError(f"line {number} is longer than any document")
    if held_bytes:
        yield Lines(b"".join(held), number)
