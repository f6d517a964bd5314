"""Fetch the documents of a chunk, each exactly once, for every way to cut a collection."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

from bson.max_key import MaxKey
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure, PyMongoError

from fastdump.codec.bson import Batch, document, id_element, spans
from fastdump.errors import ChunkLostError, ServerError
from fastdump.model import BUCKETS, Chunk, Connection, Range
from fastdump.mongo.bounds import KEY_NOT_FOUND, NO_PLAN, after_record, comparison
from fastdump.mongo.bucket_access import access_to
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.cursor import Cursor
from fastdump.mongo.retry import retrying
from fastdump.mongo.snapshot import COMMITTED, at_moment

__all__ = ["fetch"]

_RECORD_MARK = b"\x12$recordId\0"


_MAX_KEY = 0x7F

Found = tuple[Batch, int | None]
"""A batch, and the record id up to which everything is read; None if not a scan by record ids."""


def fetch(
    client: Client, connection: Connection, chunk: Chunk, lost: Callable[[PyMongoError], None]
) -> Generator[Batch]:
    """Yield the documents of a chunk, each exactly once, even if the server goes away meanwhile.

    After an interruption, reading continues after the last whole batch. Retrying lasts as long as
    the connection's settings allow.

    Args:
        client: the server.
        connection: its time of retrying.
        chunk: the chunk to read.
        lost: called with the error of each interruption.

    Raises:
        ChunkLostError: reading was interrupted, and the chunk can only be read from its beginning.
        PyMongoError: as the driver does.
        ServerError: a reply does not follow the protocol.
    """
    reading = _Reading(client, chunk)
    try:
        while (batch := retrying(connection, lost)(reading.next)) is not None:
            yield batch
    finally:
        reading.close()


class _Reading:
    """State of the reading of one chunk, which can continue after an interruption."""

    def __init__(self, client: Client, chunk: Chunk) -> None:
        self._client = client
        self._chunk = chunk
        self._source: Generator[Found] | None = None
        self._last = Batch(b"", 0)
        self._reached: int | None = None
        self._known: bytes | None = None
        """The last `_id` before an interruption, which is read once more and dropped."""

    def next(self) -> Batch | None:
        """Return the next batch; None at the end."""
        if self._source is None:
            if self._is_over():
                return None
            self._source = _found(self._client, self._rest())
        try:
            found = next(self._source, None)
        except PyMongoError:
            self._source = None
            raise
        if found is None:
            return None
        batch, self._reached = found
        if batch.documents:
            self._last = batch
        return self._without_known(batch)

    def close(self) -> None:
        """End the cursor."""
        if self._source is not None:
            self._source.close()

    def _rest(self) -> Chunk:
        """Return the part of the chunk that is still to be read."""
        chunk = self._chunk
        if self._reached is not None:
            return replace(chunk, range=replace(chunk.range, after=self._reached))
        if not self._last.documents:
            return chunk
        if not chunk.can_be_entered:
            raise ChunkLostError(
                f"the connection was lost while {chunk.namespace} was read, which can only be read "
                "from its beginning; run the same command again"
            )
        self._known = self._last_id()
        return replace(chunk, range=replace(chunk.range, lower=document(self._known)))

    def _is_over(self) -> bool:
        """Return True if the last document was the one with the `_id` MaxKey: nothing follows."""
        is_entered = self._chunk.can_be_entered and self._reached is None
        if not self._last.documents or not is_entered:
            return False
        return self._last_id()[0] == _MAX_KEY

    def _last_id(self) -> bytes:
        identity = id_element(self._last.data, spans(self._last.data)[-1])
        if identity is None:
            raise ServerError(
                f"{self._chunk.namespace} contains a document without an _id, so reading cannot "
                "continue after the interruption; run the same command again"
            )
        return identity

    def _without_known(self, batch: Batch) -> Batch:
        """Return the batch without its first document, if that was read before."""
        known, self._known = self._known, None
        if known is None or not batch.documents:
            return batch
        first = spans(batch.data)[0]
        if id_element(batch.data, first) != known:
            return batch  # the known document was deleted meanwhile
        return Batch(batch.data[first[1] :], batch.documents - 1)


def _found(client: Client, chunk: Chunk) -> Generator[Found]:
    source = chunk.source
    database = open_database(client, source.namespace.database)
    with client.start_session(causal_consistency=False) as session:
        cursor = Cursor(
            database,
            session,
            access_to(client, source.namespace),
            source.document_bytes,
            COMMITTED if source.committed else at_moment(source.at, source.uuid),
        )
        try:
            if chunk.range.is_by_record:
                yield from _records(cursor, chunk.range)
            elif source.by_filter:
                query = {"filter": RawBSONDocument(_range_filter(chunk))}
                yield from ((batch, None) for batch in cursor.batches(query))
            else:
                yield from ((batch, None) for batch in _ids(cursor, chunk))
        finally:
            cursor.close()


def _range_filter(chunk: Chunk) -> bytes:
    """Return the filter of a chunk for a server that ignores `min` and `max`.

    `$gte` and `$lt` find only values of the type of their bounds. So the first chunk is defined as
    everything that is not at or above its upper bound. Then each document is in exactly one chunk,
    in whatever order the server sorts types.

    The other chunks use a double negation. FerretDB 2 would answer a plain range from its index,
    and store the whole result before it sends any of it, which takes more than five times as long
    as a scan. For the buckets of a time series a plain range is better: there the server is MongoDB
    5.0, which reads nothing outside of the range.
    """
    wanted, source = chunk.range, chunk.source
    lower = b"" if wanted.lower is None else comparison(wanted.lower, b"$gte")
    upper = b"" if wanted.upper is None else comparison(wanted.upper, b"$lt")
    if wanted.upper is not None and wanted.lower is None:
        in_range = _beside(comparison(wanted.upper, b"$gte"))
    elif source.namespace.collection.startswith(BUCKETS):
        in_range = document(b"\x03_id\0" + document(lower, upper))
    else:
        in_range = document(b"\x04$nor\0" + document(b"\x030\0" + _beside(lower, upper)))
    if source.query is None:
        return in_range
    return document(b"\x04$and\0" + document(b"\x030\0" + in_range, b"\x031\0" + source.query))


def _beside(*comparisons: bytes) -> bytes:
    """Return the filter that finds the `_id`s for which at least one comparison is false."""
    return document(b"\x03_id\0" + document(b"\x03$not\0" + document(*comparisons)))


def _ids(cursor: Cursor, chunk: Chunk) -> Iterator[Batch]:
    """Yield the documents of a range of `_id`s, or of the whole collection.

    Ranges use `min` and `max`. `$gte` and `$lt` compare within one BSON type, and would lose the
    documents of other types.
    """
    filtered = chunk.source.query
    wanted = {} if filtered is None else {"filter": RawBSONDocument(filtered)}
    lower, upper = chunk.range.lower, chunk.range.upper
    if chunk.range.is_whole:
        yield from _whole(cursor, wanted)
        return
    # The index has this order anyway, but mongos keeps it only with `sort`. The order is needed to
    # continue after the last _id when reading is interrupted.
    query: Document = {**wanted, "hint": {"_id": 1}, "sort": {"_id": 1}}
    if lower is not None:
        query["min"] = RawBSONDocument(lower)
    if upper is not None:
        query["max"] = RawBSONDocument(upper)
    yield from cursor.batches(query)
    if upper is None:
        # An _id that is MaxKey: without max, the upper bound is MaxKey, and it is exclusive.
        last = [{"_id": MaxKey()}, *wanted.values()]
        yield from cursor.batches({"filter": {"$and": last}, "hint": {"_id": 1}})


def _whole(cursor: Cursor, wanted: Document) -> Iterator[Batch]:
    """Yield the documents of a query without a hint; add one only if the server demands it.

    Without a filter, MongoDB scans in storage order anyway. A hint for that makes FerretDB 2 six
    times slower.
    """
    try:
        yield from cursor.batches(wanted)
    except OperationFailure as error:
        if error.code != NO_PLAN:
            raise
        yield from cursor.batches({**wanted, "hint": {"$natural": 1}})


def _records(cursor: Cursor, wanted: Range) -> Iterator[Found]:
    """Yield the documents of a range of record ids, in storage order."""
    reached = wanted.after
    try:
        for batch in cursor.batches(after_record(wanted.after), wanted.until):
            if wanted.until is not None and cursor.reached > wanted.until:
                # Some records in the range do not exist, so the batch reaches beyond its end.
                yield from _marked(cursor, wanted, reached)
                return
            yield batch, cursor.reached
            reached = cursor.reached
            if reached == wanted.until:
                return
    except OperationFailure as error:
        if error.code != KEY_NOT_FOUND or reached != wanted.after:
            raise
        yield from _from_before(cursor, wanted)


def _from_before(cursor: Cursor, wanted: Range) -> Iterator[Found]:
    """Yield the documents if the record to begin after was deleted: begin at an earlier one."""
    assert wanted.after is not None  # noqa: S101 - a scan from the beginning finds its beginning
    distance = 1
    while distance < wanted.after:
        try:
            yield from _marked(cursor, wanted, wanted.after - distance)
        except OperationFailure as error:
            if error.code != KEY_NOT_FOUND:
                raise
        else:
            return
        distance *= 2
    yield from _marked(cursor, wanted, None)


def _marked(cursor: Cursor, wanted: Range, start: int | None) -> Iterator[Found]:
    """Scan after the record `start`, and yield only documents whose record id is in the range.

    The server adds `$recordId` as the last element of each document; it is removed again.
    """
    last = wanted.after
    for batch in cursor.batches({**after_record(start), "showRecordId": True}):
        kept = []
        for begin, end in spans(batch.data):
            mark = end - 1 - len(_RECORD_MARK) - 8
            record = int.from_bytes(batch.data[end - 9 : end - 1], "little", signed=True)
            if batch.data[mark : mark + len(_RECORD_MARK)] != _RECORD_MARK:
                raise ServerError("the server did not send the record id of a document")
            if (wanted.after is None or record > wanted.after) and (
                wanted.until is None or record <= wanted.until
            ):
                kept.append(document(batch.data[begin + 4 : mark]))
                last = record
        yield Batch(b"".join(kept), len(kept)), last
        if wanted.until is not None and cursor.reached >= wanted.until:
            return
