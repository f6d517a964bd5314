"""Documents that the server cannot keep as they are: without an `_id`, or with that of another.

A collection has neither. What other programs wrote may, and what a view shows.
"""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Sequence
from struct import Struct

from fastdump.codec.bson import Span, document, id_element, without
from fastdump.mongo.documents_by_id import ID_VALUE, identity

__all__ = ["DOUBLED", "bare", "doubled"]

DOUBLED = "another document of the source has the same _id, and was written"
"""Why one is not written."""

_ID = b"_id\0"
_NUMBERS = {0x01: Struct("<d"), 0x10: Struct("<i"), 0x12: Struct("<q")}

Key = bytes | tuple[int | float, ...]


def bare(run: bytes, found: Sequence[Span]) -> list[Span]:
    """Return the documents without an `_id`.

    Raises:
        FormatError: a document is malformed.
    """
    return [
        (start, end)
        for start, end in found
        # The server keeps _id first, so that few are looked through.
        if run[start + 5 : start + 9] != _ID and id_element(run, (start, end)) is None
    ]


def doubled(
    run: bytes, found: Sequence[Span], held: set[bytes], twice: Some[Span], *, is_fresh: bool
) -> set[Span]:
    """Return the documents that would replace another one of the source.

    Args:
        run: documents.
        found: which of them.
        held: what the target holds under their `_id`s.
        twice: those that the server refused for the `_id` of another one of the source.
        is_fresh: whether all that the target holds is of the source.
    """
    there = {_key(one, (0, len(one))) for one in held} if is_fresh else set[Key]()
    firsts: dict[Key, bytes] = {}
    again = set[Span]()
    for span in found:
        key, data = _key(run, span), run[span[0] : span[1]]
        is_other = span in twice or key in there
        if firsts.setdefault(key, data) != data or (
            is_other and held.isdisjoint((data, _as_stored(data)))
        ):
            again.add(span)
    return again


def _key(run: bytes, span: Span) -> Key:
    """Return what stands for an `_id`; numbers of different types are the same to a server."""
    found = identity(run, span)
    number = _NUMBERS.get(found[0])
    return found if number is None else number.unpack_from(found, ID_VALUE)


def _as_stored(data: bytes) -> bytes:
    """Return a document as a server keeps it, with its `_id` first."""
    return document(id_element(data, (0, len(data))) or b"", without(data, b"_id")[4:-1])
