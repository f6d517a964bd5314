"""Find timestamps of zero, which a server replaces by the current time at an insert.

Only those at the top level of a document are replaced, and never an `_id`. Newer servers have an
option to leave them unchanged (`bypassEmptyTsReplacement`); on others, an update by a pipeline with
the document as a literal leaves them unchanged.

Source: https://www.mongodb.com/docs/manual/reference/bson-types/#timestamps, and measured on 6.0.5.
"""

from __future__ import annotations

import re

from fastdump.codec.bson import Span, elements

__all__ = ["KEEP", "has_empty", "likely"]

KEEP = "bypassEmptyTsReplacement"
"""The option of `insert` and `update` that leaves them unchanged."""

_TIMESTAMP = 0x11
_EMPTY = bytes(8)
# Also matches inside of other values, so each match must be checked. Names with control characters
# are excluded: otherwise 3 % of the documents of Komodo's `Stats` would match.
_LIKELY = re.compile(rb"\x11[^\x00-\x1f]+\0" + _EMPTY)


def has_empty(run: bytes, span: Span) -> bool:
    """Return True if a document of the run has a timestamp of zero at its top level."""
    start, end = span
    if not _LIKELY.search(run, start, end):
        return False
    return any(
        found.kind == _TIMESTAMP and found.name != b"_id" and run[found.value : found.end] == _EMPTY
        for found in elements(run, start)
    )


def likely(run: bytes) -> list[int]:
    """Return the offsets in a run at which there may be a timestamp of zero; scans 4 GB/s."""
    return [found.start() for found in _LIKELY.finditer(run)]
