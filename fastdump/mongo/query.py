"""Parse a filter for documents, as a user types it."""

from __future__ import annotations

from fastdump.codec.extended_json_reader import to_bson
from fastdump.errors import FormatError, UsageError

__all__ = ["filter_of"]


def filter_of(text: str) -> bytes:
    """Return the BSON of a filter in Extended JSON, canonical or relaxed.

    Raises:
        UsageError: the text is not a document.
    """
    try:
        return to_bson(text)
    except FormatError as error:
        raise UsageError(f"invalid filter in --query: it is {error}") from None
