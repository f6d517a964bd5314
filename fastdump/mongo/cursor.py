"""Read whole batches of documents as raw bytes.

PyMongo's own `find_raw_batches` builds an object for each document, which takes about 2 µs. The
same `find` and `getMore` sent as commands, with replies left as bytes, cost nothing per document:
the batch's array is cut out of the reply, and one call in C drops the array's keys.
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
"""Wanted size of a batch, in bytes of BSON. A larger one costs memory and gains nothing; see
docs/performance.md."""

NO_LIMIT: Document = {"maxTimeMS": 0}
"""Field of a `find` that removes its time limit: since MongoDB 8.0 an administrator can set a limit
for all queries (`defaultMaxTimeMS`), which a large read would reach."""

_MAX_BATCH_DOCUMENTS = 100_000

_INT64 = 0x12


# PyMongo's own helper for raw batches. It has no public name, so it may disappear: then the loop in
# _join does the same, at 0.3 µs a document.
_drop_keys = cast(
    "Callable[[memoryview], bytes] | None", getattr(bson, "_array_of_documents_to_buffer", None)
)


class Cursor:
    """Server-side cursor, read through commands in one session; it can run one query after another.

    Args:
        database: the database to read.
        session: the session of all commands; a `getMore` must have the session of its `find`.
        source: the collection, from `access_to`.
        document_bytes: an estimate of the size of a document in bytes, for the first batch.
        moment: fields of `find` from `at_moment`, which set the time at which documents are read.
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
        """The server's name for the collection of the cursor."""
        self._moment = moment or {}
        self._documents = 1
        self._bytes = max(document_bytes, 1)
        self._id = 0
        self._is_unknown = False
        """True from the sending of a command until the id in its reply is known. If that is
        interrupted, the server may hold a cursor of unknown id."""
        self.reached = 0
        """Record id of the last document read, in a scan that asks for resume tokens."""

    def batches(self, query: Document, until: int | None = None) -> Iterator[Batch]:
        """Yield the documents of a query.

        Args:
            query: fields of the `find` command.
            until: the record id at which a scan should end; the last batch may reach beyond it.
        """
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
        if self._is_unknown:
            with suppress(PyMongoError):
                sessions = [self._session.session_id]
                self._database.client.admin.command({"killSessions": sessions})
            self._id, self._is_unknown = 0, False
        if not self._id:
            return
        # If the connection is gone too, the server ends the cursor together with its session.
        with suppress(PyMongoError):
            self._database.command(
                {"killCursors": self._held_as, "cursors": [Int64(self._id)]},
                session=self._session,
            )
        self._id = 0

    def _batch_size(self, until: int | None) -> int:
        """Return the number of documents for a batch of the wanted size, from the sizes so far.

        There are at most as many records up to `until` as record ids. If all ids are in use, the
        last batch ends exactly there.
        """
        size = min(BATCH_BYTES * self._documents // self._bytes, _MAX_BATCH_DOCUMENTS)
        if until is not None:
            size = min(size, until - self.reached)
        return max(size, 1)

    def _run(self, command: Document) -> Batch:
        self._is_unknown = True
        try:
            reply = self._database.command(command, session=self._session)
        except PyMongoError:
            self._is_unknown = False
            raise
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
        self._is_unknown = False
        self._documents += batch.documents
        self._bytes += len(batch.data)
        return batch

    def _record(self, raw: memoryview, start: int) -> int:
        token = element(raw, b"$recordId", start)
        # At the end of a scan the token has no record.
        if token is None or token.kind != _INT64:
            return self.reached
        return int.from_bytes(raw[token.value : token.end], "little", signed=True)


def _join(array: memoryview) -> Batch:
    """Return the documents of a BSON array, concatenated."""
    if _drop_keys is not None:
        data = _drop_keys(array)
    else:
        data = b"".join(array[found.value : found.end] for found in elements(array))
    return Batch(data, count_in_array(len(array), len(data)))
