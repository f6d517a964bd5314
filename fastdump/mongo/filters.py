"""Filters as people write them."""

from __future__ import annotations

from fastdump.codec.extended_json import to_bson
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
        raise UsageError(f"the filter is {error}") from None
