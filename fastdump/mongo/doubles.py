"""Find documents that a server cannot store unchanged: without an `_id`, or with a repeated one.

A collection contains neither, but files of other programs and views may.
"""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Sequence
from struct import Struct

from fastdump.codec.bson import Span, document, id_element, without
from fastdump.mongo.documents_by_id import ID_VALUE, identity

__all__ = ["DOUBLED", "bare", "doubled"]

DOUBLED = "another document of the source has the same _id, and was written"
"""The reason in the report for a document that is not written."""

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
        # The server stores _id first, so that few documents must be searched.
        if run[start + 5 : start + 9] != _ID and id_element(run, (start, end)) is None
    ]


def doubled(
    run: bytes, found: Sequence[Span], held: set[bytes], twice: Some[Span], *, is_fresh: bool
) -> set[Span]:
    """Return the documents that would replace another document of the source.

    Args:
        run: a run of documents.
        found: the documents of the run to look at.
        held: the target's documents with the same `_id`s.
        twice: documents that the server refused because of the `_id` of another of the source.
        is_fresh: True if all documents of the target are from the source.
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
    """Return a key for an `_id`; equal numbers of different types are the same to a server."""
    found = identity(run, span)
    number = _NUMBERS.get(found[0])
    return found if number is None else number.unpack_from(found, ID_VALUE)


def _as_stored(data: bytes) -> bytes:
    """Return a document as a server stores it, with its `_id` first."""
    return document(id_element(data, (0, len(data))) or b"", without(data, b"_id")[4:-1])
