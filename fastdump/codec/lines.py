"""Lines of text, cut out of a stream in blocks that know at which line they begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastdump.errors import FormatError

__all__ = ["MAX_LINE_BYTES", "Lines", "blocks", "is_text"]

MAX_LINE_BYTES = 128 * 1024 * 1024
"""No line is longer: a document has at most 16 MiB, and as JSON several times that."""

_LOOK_BYTES = 64


class Lines(NamedTuple):
    """Some whole lines."""

    text: bytes
    first: int
    """The number of the first of them, from 1."""


def is_text(start: bytes) -> bool:
    """Whether a file that begins so holds text: BSON has zero bytes, from its first length on."""
    return bool(start) and b"\0" not in start[:_LOOK_BYTES]


def blocks(pieces: Iterable[bytes]) -> Iterator[Lines]:
    """Whole lines, from bytes that were cut anywhere; the last one needs no end.

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
