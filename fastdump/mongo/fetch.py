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
from pymongo.errors import OperationFailure, PyMongoError

from fastdump.codec.bson import Batch, count_in_array, document, element, elements, spans
from fastdump.errors import ServerError
from fastdump.model import Chunk
from fastdump.mongo.bounds import KEY_NOT_FOUND, after_record
from fastdump.mongo.client import RAW, Document

__all__ = ["BATCH_BYTES", "fetch"]

BATCH_BYTES = 1024 * 1024
"""How much one batch should hold. A larger one costs memory and gains nothing; see
docs/performance.md."""

_MAX_BATCH_DOCUMENTS = 100_000

_INT64 = 0x12
_RECORD_MARK = b"\x12$recordId\0"


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
        cursor = _Cursor(database, session, chunk)
        try:
            if chunk.after is not None or chunk.until is not None:
                yield from _records(cursor, chunk)
            else:
                yield from _ids(cursor, chunk)
        finally:
            cursor.close()


def _ids(cursor: _Cursor, chunk: Chunk) -> Iterator[Batch]:
    """By ranges of `_id`, or the whole collection.

    Not by `$gte` and `$lt`, which compare within one BSON type and lose the documents of others.
    """
    query: Document = {}
    if chunk.lower is not None:
        query["min"] = RawBSONDocument(chunk.lower)
    if chunk.upper is not None:
        query["max"] = RawBSONDocument(chunk.upper)
    query["hint"] = {"_id": 1} if query else {"$natural": 1}
    yield from cursor.batches(query)
    if chunk.lower is not None and chunk.upper is None:
        # min and max cannot reach it: without max, the upper bound is MaxKey, exclusive.
        yield from cursor.batches({"filter": {"_id": MaxKey()}})


def _records(cursor: _Cursor, chunk: Chunk) -> Iterator[Batch]:
    """By ranges of record ids, in storage order."""
    reached = chunk.after
    try:
        for batch in cursor.batches(after_record(chunk.after), chunk.until):
            if chunk.until is not None and cursor.reached > chunk.until:
                # Records are missing in between, so that the batch reaches beyond the end.
                yield from _marked(cursor, chunk, reached)
                return
            yield batch
            reached = cursor.reached
            if reached == chunk.until:
                return
    except OperationFailure as error:
        if error.code != KEY_NOT_FOUND or reached != chunk.after:
            raise
        yield from _from_before(cursor, chunk)


def _from_before(cursor: _Cursor, chunk: Chunk) -> Iterator[Batch]:
    """The record to begin after was deleted since the plan: begin at an earlier one."""
    assert chunk.after is not None  # noqa: S101 - a scan from the beginning finds its beginning
    distance = 1
    while distance < chunk.after:
        try:
            yield from _marked(cursor, chunk, chunk.after - distance)
        except OperationFailure as error:
            if error.code != KEY_NOT_FOUND:
                raise
        else:
            return
        distance *= 2
    yield from _marked(cursor, chunk, None)


def _marked(cursor: _Cursor, chunk: Chunk, start: int | None) -> Iterator[Batch]:
    """The records of the chunk after `start`, told apart one by one.

    The server then adds `$recordId` as the last element of each document; it is taken off again.
    """
    for batch in cursor.batches({**after_record(start), "showRecordId": True}):
        kept = []
        for begin, end in spans(batch.data):
            mark = end - 1 - len(_RECORD_MARK) - 8
            record = int.from_bytes(batch.data[end - 9 : end - 1], "little", signed=True)
            if batch.data[mark : mark + len(_RECORD_MARK)] != _RECORD_MARK:
                raise ServerError("the server does not say which record a document is")
            if (chunk.after is None or record > chunk.after) and (
                chunk.until is None or record <= chunk.until
            ):
                kept.append(document(batch.data[begin + 4 : mark]))
        yield Batch(b"".join(kept), len(kept))
        if chunk.until is not None and cursor.reached >= chunk.until:
            return


class _Cursor:
    """One server-side cursor, read through commands in one session."""

    def __init__(self, database: Database[Document], session: ClientSession, chunk: Chunk) -> None:
        self._database = database
        self._session = session
        self._source = chunk.source
        self._documents = 1
        self._bytes = max(chunk.document_bytes, 1)
        self._id = 0
        self.reached = 0
        """The record id of the last document seen, in a scan that asks for resume tokens."""

    def batches(self, query: Document, until: int | None = None) -> Iterator[Batch]:
        """What the query finds; `until` is the record id that a scan should not reach beyond."""
        self.close()
        self.reached = query.get("$_resumeAfter", {}).get("$recordId", 0)
        command = {"find": self._source, **query}
        while True:
            batch = self._run({**command, "batchSize": self._batch_size(until)})
            if batch.documents:
                yield batch
            if not self._id:
                return
            command = {"getMore": Int64(self._id), "collection": self._source}

    def close(self) -> None:
        """End the cursor on the server, if it has not ended by itself."""
        if not self._id:
            return
        # Where the connection is gone too, the server ends the cursor with its session.
        with suppress(PyMongoError):
            self._database.command(
                {"killCursors": self._source, "cursors": [Int64(self._id)]},
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
