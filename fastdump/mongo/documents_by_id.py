"""Fetch the target's documents by the `_id`s of a batch, as bytes.

The query `{_id: {$in: […]}}` is composed from the bytes of the batch. Reading a document by its
`_id` costs a server a fifth of what replacing it does.
"""

from __future__ import annotations

from collections.abc import Sequence

import bson
from bson import json_util
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from fastdump.codec import extended_json
from fastdump.codec.bson import Span, document, id_element, spans
from fastdump.errors import ServerError
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import Document
from fastdump.mongo.cursor import Cursor

__all__ = ["ID_VALUE", "any_of", "identity", "read_held", "shown_id"]

_OBJECT_ID = 0x07

ID_VALUE = 5
"""Offset of the value in an `_id` element: after the type, the name `_id` and a zero byte."""


def identity(run: bytes, span: Span) -> bytes:
    """Return the bytes of a document's `_id` element.

    Raises:
        ServerError: the document has no `_id`.
    """
    found = id_element(run, span)
    if found is None:
        raise ServerError(
            "a document without an _id cannot be compared with the target: leave its collection "
            "out with --exclude-collection"
        )
    return found


def read_held(
    database: Database[Document], source: Access, run: bytes, found: Sequence[Span]
) -> set[bytes]:
    """Return the documents of a collection that have the same `_id`s as documents of the run.

    Raises:
        PyMongoError: as the driver does.
        ServerError: a document of the run has no `_id`.
    """
    ids = [identity(run, span) for span in found]
    if source.has_buckets:
        # Buckets are stored by _id, and before MongoDB 5.3 without an index for a hint. Without a
        # range, some servers look at all of them (6.0.5, but not 6.0.27).
        query: Document = {"filter": RawBSONDocument(any_of(ids, between=True))}
    else:
        # No hint: every server finds the index of _id by itself, and one makes FerretDB 2 five
        # times slower.
        query = {"filter": RawBSONDocument(any_of(ids))}
    size = sum(end - start for start, end in found) // len(found)
    held = set[bytes]()
    with database.client.start_session(causal_consistency=False) as session:
        for batch in Cursor(database, session, source, size).batches(query):
            held.update(batch.data[start:end] for start, end in spans(batch.data))
    return held


def any_of(ids: Sequence[bytes], *, between: bool = False) -> bytes:
    """Return the filter for `_id`s.

    Args:
        ids: the `_id` elements.
        between: add the range of the `_id`s, which helps servers that would scan everything.
    """
    listed = document(
        *(b"%c%d\0%b" % (one[0], number, one[ID_VALUE:]) for number, one in enumerate(ids))
    )
    wanted = [b"\x04$in\0" + listed]
    if between and all(one[0] == _OBJECT_ID for one in ids):
        for operator, end in ((b"$gte", min(ids)), (b"$lte", max(ids))):
            wanted.append(end[:1] + operator + b"\0" + end[ID_VALUE:])
    return document(b"\x03_id\0" + document(*wanted))


def shown_id(run: bytes, span: Span) -> str:
    """Return the `_id` of a document of a run, for people."""
    found = id_element(run, span)
    if found is None:
        return "(none)"
    alone = document(found)
    try:
        return json_util.dumps(bson.decode(alone)["_id"])
    except BSONError:
        return extended_json.shown_id(alone)  # what Python's types cannot hold
