"""Compare buckets, the documents in which a server stores the measurements of a time series.

A server adds measurements to a bucket until it is full, and then compresses it. So two buckets with
the same `_id` are the same bucket at different times, and the larger one has all measurements of
the smaller one.
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
    """Return the buckets that have fewer measurements than the target's, each with a message."""
    there = {identity(one, (0, len(one))): one for one in held}
    found_smaller = {}
    for span in found:
        old = there.get(identity(run, span))
        counts = (measurements(old), measurements(run[slice(*span)])) if old else (0, 0)
        if counts[0] > counts[1]:
            found_smaller[span] = (
                f"this bucket has {counts[0]:,} measurements on the target and {counts[1]:,} in "
                "the source; the target's is left unchanged, so that no measurement is lost"
            )
    return found_smaller


def measurements(bucket: bytes) -> int:
    """Return the number of measurements in a bucket; 0 if the document is not a bucket.

    A compressed bucket contains the number. Any other has one column for each field, and the
    longest of them, that of the time, has an entry for each measurement.
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
