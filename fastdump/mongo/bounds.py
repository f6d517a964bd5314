"""Where to cut a collection into pieces of about equal size.

At record ids where the server can: a scan in storage order costs it a third less than one by `_id`
does, and many times less where `_id`s are random and the collection is larger than the cache. A
scan can begin after any record that exists (`$_resumeAfter`), and each batch says which record it
reached. Elsewhere at `_id`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import bson
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.model import Bounds, Collection
from fastdump.mongo.client import RAW, Client, Document, open_database
from fastdump.mongo.retry import passes

__all__ = ["KEY_NOT_FOUND", "BoundFinder", "after_record"]

KEY_NOT_FOUND = 211
"""The server's answer to `$_resumeAfter` a record that is not there."""

_PROBES = 4
"""How many record ids to try for one bound; where most exist, the first nearly always does."""

_SAMPLES_PER_BOUND = 20
"""Quantiles of so many samples each leave chunks within about a quarter of their mean size."""

_NARROW = 4
"""An index that finds less than one document in so many is better than several cursors."""

_ENDS = (bson.encode({"_id": MinKey()}), bson.encode({"_id": MaxKey()}))


class BoundFinder:
    """Finds bounds, and learns with the first collection what the server can do.

    Args:
        client: the server.
        records: whether record ids may be used: each server of a replica set has its own.
    """

    def __init__(self, client: Client, *, records: bool) -> None:
        self._client = client
        self._knows_records = records
        self._can_sample = True

    def find(self, collection: Collection, pieces: int) -> Bounds:
        """Bounds that cut a collection into about so many pieces; none where nobody can tell.

        Raises:
            PyMongoError: the server cannot be reached, or cannot tell now.
        """
        database = open_database(self._client, collection.database)
        source = collection.data.collection
        if collection.query is not None:
            narrow = _is_narrow(database, collection)
            return Bounds(ids=() if narrow else self._ids(database, source, pieces))
        records = self._records(database, source, pieces) if self._knows_records else ()
        if records:
            return Bounds(records=records)
        return Bounds(ids=self._ids(database, source, pieces) if self._can_sample else ())

    def _records(self, database: Database[Document], source: str, pieces: int) -> tuple[int, ...]:
        try:
            return _record_bounds(database, source, pieces)
        except OperationFailure as error:
            if passes(error):
                raise
            # mongos and other servers of the protocol know no record ids.
            self._knows_records = False
            return ()

    def _ids(self, database: Database[Document], source: str, pieces: int) -> tuple[bytes, ...]:
        try:
            return _id_bounds(database, source, pieces)
        except OperationFailure as error:
            if passes(error):
                raise
            self._can_sample = False
            return ()


def _is_narrow(database: Database[Document], collection: Collection) -> bool:
    """Whether an index finds what the filter wants, and that is little of the collection.

    Then one cursor reads it faster than several that look at every document by its `_id`.

    Raises:
        PyMongoError: the filter is none.
    """
    assert collection.query is not None  # noqa: S101 - asked for collections with a filter
    wanted = RawBSONDocument(collection.query)
    name = collection.data.collection
    plan = database.command(
        {"explain": {"find": name, "filter": wanted}, "verbosity": "queryPlanner"}
    )
    if "COLLSCAN" in str(plan["queryPlanner"]["winningPlan"]):
        return False
    found = database.command({"count": name, "query": wanted})["n"]
    return bool(found * _NARROW < collection.documents)


def after_record(record: int | None) -> Document:
    """The part of `find` that scans in storage order, after that record or from the beginning."""
    scan: Document = {"hint": {"$natural": 1}, "$_requestResumeToken": True}
    if record is not None:
        scan["$_resumeAfter"] = {"$recordId": Int64(record)}
    return scan


def _record_bounds(database: Database[Document], source: str, pieces: int) -> tuple[int, ...]:
    first, last = (_record_at_end(database, source, direction) for direction in (1, -1))
    if not isinstance(first, int) or not isinstance(last, int):
        return ()  # empty, or clustered, where a record id is the _id itself
    wanted = (first + (last - first) * piece // pieces for piece in range(1, pieces))
    found = [_existing_record(database, source, record) for record in wanted]
    if None in found:
        # Few of the record ids are in use: look for some that are.
        found = list(_sampled_records(database, source, pieces))
    return tuple(sorted({record for record in found if record is not None}))


def _record_at_end(database: Database[Document], source: str, direction: int) -> object:
    reply = database.command(
        {
            "find": source,
            "hint": {"$natural": direction},
            "projection": {"_id": 1},
            "showRecordId": True,
            "limit": 1,
            "singleBatch": True,
        }
    )
    batch = reply["cursor"]["firstBatch"]
    return batch[0]["$recordId"] if batch else None


def _existing_record(database: Database[Document], source: str, record: int) -> int | None:
    for candidate in range(record, record + _PROBES):
        try:
            database.command(
                {"find": source, **after_record(candidate), "limit": 1, "singleBatch": True}
            )
        except OperationFailure as error:
            if error.code != KEY_NOT_FOUND:
                raise
        else:
            return candidate
    return None


def _sampled_records(database: Database[Document], source: str, pieces: int) -> Iterator[int]:
    ids = [found["_id"] for found in _sample(database, source, pieces)]
    command = {
        "find": source,
        "filter": {"_id": {"$in": ids}},
        "projection": {"_id": 1},
        "showRecordId": True,
        "batchSize": len(ids) + 1,
    }
    reply = database.command(command, codec_options=RAW)
    records = sorted(found["$recordId"] for found in reply["cursor"]["firstBatch"])
    return (records[len(records) * piece // pieces] for piece in range(1, pieces) if records)


def _id_bounds(database: Database[Document], source: str, pieces: int) -> tuple[bytes, ...]:
    """`_id`s in the server's order, without MinKey and MaxKey: beyond them there is no range."""
    ids = [bytes(found.raw) for found in _sample(database, source, pieces)]
    picked = (ids[len(ids) * piece // pieces] for piece in range(1, pieces) if ids)
    return tuple(bound for bound in dict.fromkeys(picked) if bound not in _ENDS)


def _sample(database: Database[Document], source: str, pieces: int) -> Sequence[RawBSONDocument]:
    """Some documents `{_id: …}` of the collection, in order."""
    size = pieces * _SAMPLES_PER_BOUND
    command = {
        "aggregate": source,
        "pipeline": [{"$sample": {"size": size}}, {"$project": {"_id": 1}}, {"$sort": {"_id": 1}}],
        "cursor": {"batchSize": size + 1},
    }
    reply = database.command(command, codec_options=RAW)
    batch: Sequence[RawBSONDocument] = reply["cursor"]["firstBatch"]
    return batch
