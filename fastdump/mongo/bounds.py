"""Where to cut a collection into pieces of about equal size.

At record ids where the server can: a scan in storage order costs it a third less than one by `_id`
does, and many times less where `_id`s are random and the collection is larger than the cache. A
scan can begin after any record that exists (`$_resumeAfter`), and each batch says which record it
reached. Elsewhere at `_id`s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import bson
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.codec.bson import document, element
from fastdump.model import Bounds, Collection
from fastdump.mongo.bucket_access import Access, access_to
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.cursor import NO_LIMIT
from fastdump.mongo.documents_by_id import ID_VALUE, any_of
from fastdump.mongo.retry import passes

__all__ = [
    "FILTERED_BYTES",
    "KEY_NOT_FOUND",
    "NO_PLAN",
    "BoundFinder",
    "after_record",
    "comparison",
    "comparison_filter",
    "existing_record",
    "record_at_end",
]

KEY_NOT_FOUND = 211
"""The server's answer to `$_resumeAfter` a record that is not there."""

NO_PLAN = 291
"""The server's answer where it may not scan a whole collection that no hint tells it to scan, as
with `maxEstimatedScanBytes`, a parameter of MongoDB 9.0."""

_PROBES = 4
"""How many record ids to try for one bound; where most exist, the first nearly always does."""

_SAMPLES_PER_BOUND = 20
"""Quantiles of so many samples each leave chunks within about a quarter of their mean size."""

FILTERED_BYTES = 512 * 1024 * 1024
"""What a range should hold at least on a server that ignores `min` and `max`: it looks at every
document of the collection for each range."""

_FILTERED_RANGES = 4
"""At most so many of them in a collection, however large it is, for the same reason."""

_NARROW = 4
"""An index that finds less than one document in so many is better than several cursors."""

_INT64 = 0x12
_NUMBERS = frozenset({0x10, _INT64})
_IN_FILTERS = _NUMBERS | {0x02, 0x05, 0x07, 0x09}
"""Types of `_id`s of which a filter can be a range: numbers, strings, binary, ObjectIds, dates."""

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
        self._honours_bounds: dict[bool, bool] = {}
        """Asked once of collections, and once of the buckets of time series."""

    def find(self, collection: Collection, pieces: int) -> Bounds:
        """Bounds that cut a collection into about so many pieces; none where nobody can tell.

        Raises:
            PyMongoError: the server cannot be reached, or cannot tell now.
        """
        database = open_database(self._client, collection.database)
        source = access_to(self._client, collection.data)
        if collection.query is not None:
            narrow = _is_narrow(database, collection)
            return Bounds() if narrow else self._by_id(database, collection, pieces)
        records = self._records(source, collection, pieces) if self._knows_records else ()
        if records:
            return Bounds(records=records)
        return self._by_id(database, collection, pieces)

    def cut_records(
        self,
        database: Database[Document],
        source: Access,
        collection: Collection,  # noqa: ARG002 - for others
        pieces: int,
    ) -> tuple[int, ...]:
        """Return record ids that cut a collection into about so many pieces of equal size.

        Raises:
            PyMongoError: as the driver does, also where the server knows no record ids.
        """
        return _record_bounds(database, source, pieces)

    def cut_ids(
        self,
        database: Database[Document],
        source: Access,
        collection: Collection,  # noqa: ARG002 - for others
        pieces: int,
    ) -> tuple[bytes, ...]:
        """Return `_id`s that cut a collection into about so many pieces of equal size.

        Raises:
            PyMongoError: as the driver does, also where the server cannot sample.
        """
        return _id_bounds(database, source, pieces)

    def _records(self, source: Access, collection: Collection, pieces: int) -> tuple[int, ...]:
        database = open_database(self._client, collection.database)
        try:
            return self.cut_records(database, source, collection, pieces)
        except OperationFailure as error:
            if passes(error):
                raise
            # mongos and other servers of the protocol know no record ids.
            self._knows_records = False
            return ()

    def _by_id(self, database: Database[Document], collection: Collection, pieces: int) -> Bounds:
        source = access_to(self._client, collection.data)
        ids = self._ids(source, collection, pieces) if self._can_sample else ()
        if not ids:
            return Bounds()
        kind = source.has_buckets
        if kind not in self._honours_bounds:
            self._honours_bounds[kind] = _honours_bounds(database, source, ids[-1])
        if self._honours_bounds[kind]:
            return Bounds(ids=ids)
        few = min(collection.raw_bytes // FILTERED_BYTES, _FILTERED_RANGES)
        return _for_filters(ids, pieces if kind else few)

    def _ids(self, source: Access, collection: Collection, pieces: int) -> tuple[bytes, ...]:
        database = open_database(self._client, collection.database)
        try:
            return self.cut_ids(database, source, collection, pieces)
        except OperationFailure as error:
            if passes(error):
                raise
            self._can_sample = False
            return ()


def _honours_bounds(database: Database[Document], source: Access, bound: bytes) -> bool:
    """Ask the server whether it honours `min` and `max`: some ignore them without a word.

    It is asked for a document beyond a bound, which it can only find if it did not look at the
    bound. Seen on FerretDB 1.24 and 2.5. MongoDB 5.0 keeps the buckets of a time series by their
    `_id`s, without an index that bounds could be of.

    Raises:
        PyMongoError: the server cannot be reached.
    """
    by_id: Document = {"sort": {"_id": 1}, "hint": {"_id": 1}, "projection": {"_id": 1}}
    first = {**source.command("find"), **by_id, "limit": 1, "singleBatch": True}
    try:
        lowest = database.command(first)
    except OperationFailure as error:
        if passes(error):
            raise
        return False
    found = [bytes(one.raw) for one in lowest["cursor"]["firstBatch"]]
    if found == [bound] or not found:
        return False
    return not (
        _finds(database, source, found[0], {"min": RawBSONDocument(bound)})
        or _finds(database, source, bound, {"max": RawBSONDocument(bound)})
    )


def _finds(database: Database[Document], source: Access, wanted: bytes, beyond: Document) -> bool:
    """Return whether a document is found although it is beyond a bound, or nothing is said."""
    command = {
        **source.command("find"),
        "filter": RawBSONDocument(comparison_filter(wanted, b"$eq")),
        **beyond,
        "hint": {"_id": 1},
        "singleBatch": True,
    }
    try:
        reply = database.command(command)
    except OperationFailure as error:
        if passes(error):
            raise
        return True
    return bool(reply["cursor"]["firstBatch"])


def comparison(bound: bytes, operator: bytes) -> bytes:
    """Return the element that compares with the value of a bound `{_id: …}`."""
    identity = bound[4:-1]
    return identity[:1] + operator + b"\0" + identity[ID_VALUE:]


def comparison_filter(bound: bytes, operator: bytes) -> bytes:
    """Return the filter that compares `_id` with a bound `{_id: …}`."""
    return document(b"\x03_id\0" + document(comparison(bound, operator)))


def _for_filters(ids: Sequence[bytes], pieces: int) -> Bounds:
    """Return bounds of so many pieces at most, of the most frequent type that filters compare."""
    kinds = [_NUMBERS if one[4] in _NUMBERS else frozenset({one[4]}) for one in ids]
    usable = Counter(kind for kind in kinds if kind <= _IN_FILTERS)
    if not usable:
        return Bounds()
    ((chosen, _count),) = usable.most_common(1)
    kept = [one for one, kind in zip(ids, kinds, strict=True) if kind == chosen]
    pieces = min(pieces, len(kept) + 1)
    few = tuple(kept[len(kept) * piece // pieces] for piece in range(1, pieces))
    return Bounds(ids=few, by_filter=bool(few))


def _is_narrow(database: Database[Document], collection: Collection) -> bool:
    """Whether an index finds what the filter wants, and that is little of the collection.

    Then one cursor reads it faster than several that look at every document by its `_id`.

    Raises:
        PyMongoError: the filter is none.
    """
    assert collection.query is not None  # noqa: S101 - asked for collections with a filter
    wanted = RawBSONDocument(collection.query)
    name = collection.data.collection
    explain = {"explain": {"find": name, "filter": wanted}, "verbosity": "queryPlanner"}
    try:
        plan = database.command(explain)
    except OperationFailure as error:
        if error.code == NO_PLAN:
            return False
        raise
    winning = plan.get("queryPlanner", {}).get("winningPlan")
    if winning is None or b"COLLSCAN" in winning.raw:
        return False  # other servers of the protocol explain in words of their own
    found = database.command({"count": name, "query": wanted, **NO_LIMIT})["n"]
    return bool(found * _NARROW < collection.documents)


def after_record(record: int | None) -> Document:
    """The part of `find` that scans in storage order, after that record or from the beginning."""
    scan: Document = {"hint": {"$natural": 1}, "$_requestResumeToken": True}
    if record is not None:
        scan["$_resumeAfter"] = {"$recordId": Int64(record)}
    return scan


def _record_bounds(database: Database[Document], source: Access, pieces: int) -> tuple[int, ...]:
    first, last = (record_at_end(database, source, direction) for direction in (1, -1))
    if first is None or last is None:
        return ()  # empty, or clustered, where a record id is the _id itself
    wanted = (first + (last - first) * piece // pieces for piece in range(1, pieces))
    found = [existing_record(database, source, record) for record in wanted]
    if None in found:
        # Few of the record ids are in use: look for some that are.
        found = list(_sampled_records(database, source, pieces))
    return tuple(sorted({record for record in found if record is not None}))


def record_at_end(database: Database[Document], source: Access, direction: int) -> int | None:
    """Return the first record id of a collection, or with -1 the last; None where there is none.

    Raises:
        PyMongoError: as the driver does.
    """
    reply = database.command(
        {
            **source.command("find"),
            "hint": {"$natural": direction},
            "projection": {"_id": 1},
            "showRecordId": True,
            "limit": 1,
            "singleBatch": True,
        }
    )
    batch = reply["cursor"]["firstBatch"]
    return _record(batch[0]) if batch else None


def _record(found: RawBSONDocument) -> int | None:
    """Return the record id that was asked for; None if it is no number.

    The `_id` beside it may be one that the driver cannot decode.
    """
    raw = bytes(found.raw)
    record = element(raw, b"$recordId")
    if record is None or record.kind != _INT64:
        return None
    return int.from_bytes(raw[record.value : record.end], "little", signed=True)


def existing_record(database: Database[Document], source: Access, record: int) -> int | None:
    """Return that record id or one of the next few, whichever is in use; None if none is.

    Raises:
        PyMongoError: as the driver does.
    """
    for candidate in range(record, record + _PROBES):
        try:
            one = {**after_record(candidate), "limit": 1, "singleBatch": True}
            database.command({**source.command("find"), **one})
        except OperationFailure as error:
            if error.code != KEY_NOT_FOUND:
                raise
        else:
            return candidate
    return None


def _sampled_records(database: Database[Document], source: Access, pieces: int) -> Iterator[int]:
    ids = [bytes(found.raw)[4:-1] for found in _sample(database, source, pieces)]
    command = {
        **source.command("find"),
        "filter": RawBSONDocument(any_of(ids)),
        "hint": {"_id": 1},
        "projection": {"_id": 1},
        "showRecordId": True,
        "batchSize": len(ids) + 1,
    }
    reply = database.command(command)
    found = map(_record, reply["cursor"]["firstBatch"])
    records = sorted(record for record in found if record is not None)
    return (records[len(records) * piece // pieces] for piece in range(1, pieces) if records)


def _id_bounds(database: Database[Document], source: Access, pieces: int) -> tuple[bytes, ...]:
    """`_id`s in the server's order, without MinKey and MaxKey: beyond them there is no range."""
    ids = [bytes(found.raw) for found in _sample(database, source, pieces)]
    picked = (ids[len(ids) * piece // pieces] for piece in range(1, pieces) if ids)
    return tuple(bound for bound in dict.fromkeys(picked) if bound not in _ENDS)


def _sample(database: Database[Document], source: Access, pieces: int) -> Sequence[RawBSONDocument]:
    """Some documents `{_id: …}` of the collection, in order."""
    size = pieces * _SAMPLES_PER_BOUND
    command = {
        **source.command("aggregate"),
        "pipeline": [{"$sample": {"size": size}}, {"$project": {"_id": 1}}, {"$sort": {"_id": 1}}],
        "cursor": {"batchSize": size + 1},
        **NO_LIMIT,
    }
    reply = database.command(command)
    batch: Sequence[RawBSONDocument] = reply["cursor"]["firstBatch"]
    return batch
