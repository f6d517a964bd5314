"""Buckets: the documents in which a server keeps the measurements of a time series.

A server adds measurements to a bucket until it is full, and compresses it then. So what another
holds under the same `_id` was the same bucket at another time, and has all measurements of the
smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from fastdump.codec.bson import Span
from fastdump.mongo.client import Document
from fastdump.mongo.documents_by_id import identity

__all__ = ["measurements", "smaller"]

_OPTIONS: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)


def smaller(run: bytes, found: Sequence[Span], held: set[bytes]) -> dict[Span, str]:
    """Return which buckets have fewer measurements than those that are held, each with a reason."""
    there = {identity(one, (0, len(one))): one for one in held}
    found_smaller = {}
    for span in found:
        old = there.get(identity(run, span))
        counts = (measurements(old), measurements(run[slice(*span)])) if old else (0, 0)
        if counts[0] > counts[1]:
            found_smaller[span] = (
                f"this bucket has {counts[0]:,} measurements on the target and {counts[1]:,} here; "
                "it is left as it is, so that none is lost"
            )
    return found_smaller


def measurements(bucket: bytes) -> int:
    """Return how many measurements a bucket holds; 0 where it is no bucket.

    A compressed one says so; another has a column of each field, and all have a time.
    """
    try:
        decoded = bson.decode(bucket, _OPTIONS)
    except BSONError:
        return 0
    control, columns = decoded.get("control"), decoded.get("data")
    if isinstance(control, dict) and isinstance(count := control.get("count"), int):
        return count
    if not isinstance(columns, dict):
        return 0
    return max((len(one) for one in columns.values() if isinstance(one, dict)), default=0)
