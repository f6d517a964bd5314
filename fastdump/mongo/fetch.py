"""Reading the documents of a chunk as raw bytes, a batch at a time.

PyMongo's own `find_raw_batches` builds an object for each document, about 2 µs each. The same
`find` and `getMore` sent as commands, with replies left as bytes, cost nothing per document: the
batch's array is cut out of the reply, and one call in C drops the array's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import cast

import bson
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError

from fastdump.codec.bson import Batch, count_in_array, element, elements
from fastdump.errors import ServerError
from fastdump.model import Chunk
from fastdump.mongo.client import RAW, Document

__all__ = ["BATCH_BYTES", "fetch"]

BATCH_BYTES = 1024 * 1024
"""How much one batch should hold. A larger one costs memory and gains nothing; see
docs/performance.md."""

_MAX_BATCH_DOCUMENTS = 100_000


# PyMongo's own helper for raw batches. It has no public name, so its absence must be survived:
# the loop in _join does the same at 0.3 µs a document.
_drop_keys = cast(
    "Callable[[memoryview], bytes] | None", getattr(bson, "_array_of_documents_to_buffer", None)
)


def fetch(database: Database[Document], chunk: Chunk) -> Iterator[Batch]:
    """The documents of a chunk, each exactly once.

    Raises:
        PyMongoError: as the driver does.
        ServerError: a reply is not what the protocol says.
    """
    with database.client.start_session(causal_consistency=False) as session:
        yield from _Cursor(database, session, chunk).batches(_query(chunk))
        if chunk.lower is not None and chunk.upper is None:
            # min and max cannot reach it: without max, the upper bound is MaxKey, exclusive.
            yield from _Cursor(database, session, chunk).batches({"filter": {"_id": MaxKey()}})


def _query(chunk: Chunk) -> Document:
    """The part of `find` that selects a chunk.

    Not `$gte` and `$lt`, which compare within one BSON type and lose the documents of the others.
    """
    query: Document = {}
    if chunk.lower is not None:
        query["min"] = RawBSONDocument(chunk.lower)
    if chunk.upper is not None:
        query["max"] = RawBSONDocument(chunk.upper)
    query["hint"] = {"_id": 1} if query else {"$natural": 1}
    return query


class _Cursor:
    """One server-side cursor, read through commands in one session."""

    def __init__(self, database: Database[Document], session: ClientSession, chunk: Chunk) -> None:
        self._database = database
        self._session = session
        self._source = chunk.source
        self._documents = 1
        self._bytes = max(chunk.document_bytes, 1)
        self._id = 0

    def batches(self, query: Document) -> Iterator[Batch]:
        command = {"find": self._source, **query, "batchSize": self._batch_size()}
        try:
            batch = self._run(command)
            while True:
                if batch.documents:
                    yield batch
                if not self._id:
                    return
                batch = self._run(
                    {
                        "getMore": Int64(self._id),
                        "collection": self._source,
                        "batchSize": self._batch_size(),
                    }
                )
        finally:
            if self._id:
                self._kill()

    def _kill(self) -> None:
        # Where the connection is gone too, the server ends the cursor with its session.
        with suppress(PyMongoError):
            self._database.command(
                {"killCursors": self._source, "cursors": [Int64(self._id)]},
                session=self._session,
            )

    def _batch_size(self) -> int:
        """How many documents make a batch of the right size, by those seen so far."""
        size = BATCH_BYTES * self._documents // self._bytes
        return min(max(size, 1), _MAX_BATCH_DOCUMENTS)

    def _run(self, command: Document) -> Batch:
        reply = self._database.command(command, codec_options=RAW, session=self._session)
        raw = memoryview(reply.raw)
        cursor = element(raw, b"cursor")
        if cursor is None:
            raise ServerError("the server's reply to a query has no cursor")
        batch = Batch(b"", 0)
        for found in elements(raw, cursor.value):
            if found.name == b"id":
                self._id = int.from_bytes(raw[found.value : found.end], "little", signed=True)
            elif found.name in (b"firstBatch", b"nextBatch"):
                batch = _join(raw[found.value : found.end])
        self._documents += batch.documents
        self._bytes += len(batch.data)
        return batch


def _join(array: memoryview) -> Batch:
    """The documents of an array, one after another."""
    if _drop_keys is not None:
        data = _drop_keys(array)
    else:
        data = b"".join(array[found.value : found.end] for found in elements(array))
    return Batch(data, count_in_array(len(array), len(data)))
