"""The documents of a chunk, each exactly once, whichever way the collection was cut."""

from __future__ import annotations

from collections.abc import Iterator

from bson.max_key import MaxKey
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from fastdump.codec.bson import Batch, document, spans
from fastdump.errors import ServerError
from fastdump.model import Chunk
from fastdump.mongo.bounds import KEY_NOT_FOUND, after_record
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.cursor import Cursor

__all__ = ["fetch"]

_RECORD_MARK = b"\x12$recordId\0"


def fetch(client: Client, chunk: Chunk) -> Iterator[Batch]:
    """The documents of a chunk, each exactly once.

    Raises:
        PyMongoError: as the driver does.
        ServerError: a reply is not what the protocol says.
    """
    database = open_database(client, chunk.source.database)
    with client.start_session(causal_consistency=False) as session:
        cursor = Cursor(database, session, chunk.source.collection, chunk.document_bytes)
        try:
            if chunk.after is not None or chunk.until is not None:
                yield from _records(cursor, chunk)
            else:
                yield from _ids(cursor, chunk)
        finally:
            cursor.close()


def _ids(cursor: Cursor, chunk: Chunk) -> Iterator[Batch]:
    """By ranges of `_id`, or the whole collection.

    Not by `$gte` and `$lt`, which compare within one BSON type and lose the documents of others.
    """
    wanted = {} if chunk.query is None else {"filter": RawBSONDocument(chunk.query)}
    query: Document = {}
    if chunk.lower is not None:
        query["min"] = RawBSONDocument(chunk.lower)
    if chunk.upper is not None:
        query["max"] = RawBSONDocument(chunk.upper)
    if query:
        query["hint"] = {"_id": 1}
    elif chunk.natural:
        query["hint"] = {"$natural": 1}
    yield from cursor.batches({**query, **wanted})
    if chunk.lower is not None and chunk.upper is None:
        # min and max cannot reach it: without max, the upper bound is MaxKey, exclusive.
        last = [{"_id": MaxKey()}, *wanted.values()]
        yield from cursor.batches({"filter": {"$and": last}})


def _records(cursor: Cursor, chunk: Chunk) -> Iterator[Batch]:
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


def _from_before(cursor: Cursor, chunk: Chunk) -> Iterator[Batch]:
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


def _marked(cursor: Cursor, chunk: Chunk, start: int | None) -> Iterator[Batch]:
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
