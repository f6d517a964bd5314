"""Reading whole batches of documents as raw bytes.

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
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError

from fastdump.codec.bson import Batch, count_in_array, element, elements
from fastdump.errors import ServerError
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import Document

__all__ = ["BATCH_BYTES", "NO_LIMIT", "Cursor"]

BATCH_BYTES = 1024 * 1024
"""How much one batch should hold. A larger one costs memory and gains nothing; see
docs/performance.md."""

NO_LIMIT: Document = {"maxTimeMS": 0}
"""The part of a `find` that lets it take as long as it takes: since MongoDB 8.0 an administrator
can set a limit for all queries (`defaultMaxTimeMS`), which a large read would reach."""

_MAX_BATCH_DOCUMENTS = 100_000

_INT64 = 0x12


# PyMongo's own helper for raw batches. It has no public name, so its absence must be survived:
# the loop in _join does the same at 0.3 µs a document.
_drop_keys = cast(
    "Callable[[memoryview], bytes] | None", getattr(bson, "_array_of_documents_to_buffer", None)
)


class Cursor:
    """One server-side cursor after another, read through commands in one session.

    Args:
        database: where to read.
        session: every `getMore` must carry that of its `find`.
        source: the collection, as `access_to` says that it is reached.
        document_bytes: an estimate of the size of a document, for the size of the first batch.
        moment: the part of a `find` that says when its documents are read, from `at_moment`.
    """

    def __init__(
        self,
        database: Database[Document],
        session: ClientSession,
        source: Access,
        document_bytes: int,
        moment: Document | None = None,
    ) -> None:
        self._database = database
        self._session = session
        self._source = source
        self._held_as = source.collection
        """What the server calls the collection of the cursor."""
        self._moment = moment or {}
        self._documents = 1
        self._bytes = max(document_bytes, 1)
        self._id = 0
        self.reached = 0
        """The record id of the last document seen, in a scan that asks for resume tokens."""

    def batches(self, query: Document, until: int | None = None) -> Iterator[Batch]:
        """What the query finds; `until` is the record id that a scan should not reach beyond."""
        self.close()
        self.reached = query.get("$_resumeAfter", {}).get("$recordId", 0)
        command = {**self._source.command("find"), **NO_LIMIT, **query, **self._moment}
        while True:
            batch = self._run({**command, "batchSize": self._batch_size(until)})
            if batch.documents:
                yield batch
            if not self._id:
                return
            command = {"getMore": Int64(self._id), "collection": self._held_as}

    def close(self) -> None:
        """End the cursor on the server, if it has not ended by itself."""
        if not self._id:
            return
        # Where the connection is gone too, the server ends the cursor with its session.
        with suppress(PyMongoError):
            self._database.command(
                {"killCursors": self._held_as, "cursors": [Int64(self._id)]},
                session=self._session,
            )
        self._id = 0

    def _batch_size(self, until: int | None) -> int:
        """How many documents make a batch of the right size, by those seen so far.

        There are at most as many records up to `until` as there are record ids; where all are in
        use, the last batch ends just there.
        """
        size = min(BATCH_BYTES * self._documents // self._bytes, _MAX_BATCH_DOCUMENTS)
        if until is not None:
            size = min(size, until - self.reached)
        return max(size, 1)

    def _run(self, command: Document) -> Batch:
        reply = self._database.command(command, session=self._session)
        raw = memoryview(cast("RawBSONDocument", reply).raw)
        cursor = element(raw, b"cursor")
        if cursor is None:
            raise ServerError("the server's reply to a query has no cursor")
        batch = Batch(b"", 0)
        for found in elements(raw, cursor.value):
            if found.name == b"id":
                self._id = int.from_bytes(raw[found.value : found.end], "little", signed=True)
            elif found.name == b"ns":
                name = bytes(raw[found.value + 4 : found.end - 1]).decode()
                self._held_as = name.split(".", 1)[-1]
            elif found.name in (b"firstBatch", b"nextBatch"):
                batch = _join(raw[found.value : found.end])
            elif found.name == b"postBatchResumeToken":
                self.reached = self._record(raw, found.value)
        self._documents += batch.documents
        self._bytes += len(batch.data)
        return batch

    def _record(self, raw: memoryview, start: int) -> int:
        token = element(raw, b"$recordId", start)
        # At its end a scan has no record to resume after.
        if token is None or token.kind != _INT64:
            return self.reached
        return int.from_bytes(raw[token.value : token.end], "little", signed=True)


def _join(array: memoryview) -> Batch:
    """The documents of an array, one after another."""
    if _drop_keys is not None:
        data = _drop_keys(array)
    else:
        data = b"".join(array[found.value : found.end] for found in elements(array))
    return Batch(data, count_in_array(len(array), len(data)))
