"""The documents of a chunk, each exactly once, whichever way the collection was cut."""

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
"""Some documents, and the record id up to which that is all, in a scan by record ids."""


def fetch(
    client: Client, connection: Connection, chunk: Chunk, lost: Callable[[PyMongoError], None]
) -> Iterator[Batch]:
    """The documents of a chunk, each exactly once, also when the server goes away meanwhile.

    Reading then goes on after the last whole batch, for as long as the connection says.

    Args:
        client: the server.
        connection: how it is reached.
        chunk: what to read.
        lost: hears of each time that the server went away.

    Raises:
        ChunkLostError: the server went away in the middle of what cannot be entered there.
        PyMongoError: as the driver does.
        ServerError: a reply is not what the protocol says.
    """
    reading = _Reading(client, chunk)
    try:
        while (batch := retrying(connection, lost)(reading.next)) is not None:
            yield batch
    finally:
        reading.close()


class _Reading:
    """Where reading a chunk has come to."""

    def __init__(self, client: Client, chunk: Chunk) -> None:
        self._client = client
        self._chunk = chunk
        self._source: Generator[Found] | None = None
        self._last = Batch(b"", 0)
        self._reached: int | None = None
        self._known: bytes | None = None
        """The `_id` that was the last before the server went away: it is read again."""

    def next(self) -> Batch | None:
        """The next documents; None where there are no more."""
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
        """What is still to be read."""
        chunk = self._chunk
        if self._reached is not None:
            return replace(chunk, range=replace(chunk.range, after=self._reached))
        if not self._last.documents:
            return chunk
        if not chunk.can_be_entered:
            raise ChunkLostError(
                f"the server went away while {chunk.namespace} was read, which can only be read "
                "from its beginning; run the same command again"
            )
        self._known = self._last_id()
        return replace(chunk, range=replace(chunk.range, lower=document(self._known)))

    def _is_over(self) -> bool:
        """Whether the document that only the last query finds was the last one."""
        is_entered = self._chunk.can_be_entered and self._reached is None
        if not self._last.documents or not is_entered:
            return False
        return self._last_id()[0] == _MAX_KEY

    def _last_id(self) -> bytes:
        identity = id_element(self._last.data, spans(self._last.data)[-1])
        if identity is None:
            raise ServerError(f"{self._chunk.namespace} holds a document without _id")
        return identity

    def _without_known(self, batch: Batch) -> Batch:
        """Without the first document, if it was read before."""
        known, self._known = self._known, None
        if known is None or not batch.documents:
            return batch
        first = spans(batch.data)[0]
        if id_element(batch.data, first) != known:
            return batch  # it was deleted meanwhile
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

    `$gte` and `$lt` find only what is of the type of their bounds. The first chunk is therefore all
    that is not from its upper bound on, so that each document is in exactly one chunk, whatever
    the server thinks of types and their order.

    The others say twice that they mean the opposite. FerretDB 2 looks a plain range up in its index
    and stores what it found before it sends any of it, which takes more than five times as long
    as a scan. Only for the buckets of a time series a plain range is better: it is MongoDB 5.0
    that ignores bounds there, and it reads nothing outside the range.
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
    """Return the filter of each `_id` for which not all of the comparisons hold."""
    return document(b"\x03_id\0" + document(b"\x03$not\0" + document(*comparisons)))


def _ids(cursor: Cursor, chunk: Chunk) -> Iterator[Batch]:
    """By ranges of `_id`, or the whole collection.

    Not by `$gte` and `$lt`, which compare within one BSON type and lose the documents of others.
    """
    filtered = chunk.source.query
    wanted = {} if filtered is None else {"filter": RawBSONDocument(filtered)}
    lower, upper = chunk.range.lower, chunk.range.upper
    if chunk.range.is_whole:
        yield from _whole(cursor, wanted)
        return
    # The index has this order anyway. A mongos keeps it only if it is told to, and reading goes on
    # after the last _id when it was interrupted.
    query: Document = {**wanted, "hint": {"_id": 1}, "sort": {"_id": 1}}
    if lower is not None:
        query["min"] = RawBSONDocument(lower)
    if upper is not None:
        query["max"] = RawBSONDocument(upper)
    yield from cursor.batches(query)
    if upper is None:
        # min and max cannot reach it: without max, the upper bound is MaxKey, exclusive.
        last = [{"_id": MaxKey()}, *wanted.values()]
        yield from cursor.batches({"filter": {"$and": last}, "hint": {"_id": 1}})


def _whole(cursor: Cursor, wanted: Document) -> Iterator[Batch]:
    """As the server sees fit, where it lets us.

    MongoDB then scans in storage order what has no filter. A hint that says so makes FerretDB 2 six
    times slower.
    """
    try:
        yield from cursor.batches(wanted)
    except OperationFailure as error:
        if error.code != NO_PLAN:
            raise
        yield from cursor.batches({**wanted, "hint": {"$natural": 1}})


def _records(cursor: Cursor, wanted: Range) -> Iterator[Found]:
    """By ranges of record ids, in storage order."""
    reached = wanted.after
    try:
        for batch in cursor.batches(after_record(wanted.after), wanted.until):
            if wanted.until is not None and cursor.reached > wanted.until:
                # Records are missing in between, so that the batch reaches beyond the end.
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
    """The record to begin after was deleted since the plan: begin at an earlier one."""
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
    """The records of the chunk after `start`, told apart one by one.

    The server then adds `$recordId` as the last element of each document; it is taken off again.
    """
    last = wanted.after
    for batch in cursor.batches({**after_record(start), "showRecordId": True}):
        kept = []
        for begin, end in spans(batch.data):
            mark = end - 1 - len(_RECORD_MARK) - 8
            record = int.from_bytes(batch.data[end - 9 : end - 1], "little", signed=True)
            if batch.data[mark : mark + len(_RECORD_MARK)] != _RECORD_MARK:
                raise ServerError("the server does not say which record a document is")
            if (wanted.after is None or record > wanted.after) and (
                wanted.until is None or record <= wanted.until
            ):
                kept.append(document(batch.data[begin + 4 : mark]))
                last = record
        yield Batch(b"".join(kept), len(kept)), last
        if wanted.until is not None and cursor.reached >= wanted.until:
            return
