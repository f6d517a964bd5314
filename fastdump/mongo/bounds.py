"""Find bounds that cut a collection into chunks of about equal size.

Bounds are record ids if the server offers them, otherwise `_id`s. A scan in storage order costs the
server a third less than one by `_id`, and many times less if `_id`s are random and the collection
is larger than the cache. A scan can begin after any existing record (`$_resumeAfter`), and each
batch tells which record it reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

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
from fastdump.mongo.round_trip import ask_each
from fastdump.mongo.sample import sample

__all__ = [
    "FILTERED_BYTES",
    "KEY_NOT_FOUND",
    "NO_PLAN",
    "BoundFinder",
    "after_record",
    "comparison",
    "comparison_filter",
    "existing_records",
    "records_at_ends",
]

KEY_NOT_FOUND = 211
"""Error code for `$_resumeAfter` with a record that does not exist."""

NO_PLAN = 291
"""Error code if the server must not scan a whole collection without a hint, because of the limit
`maxEstimatedScanBytes`, a parameter of MongoDB 9.0."""

_PROBES = 4
"""Number of record ids to try for one bound; if most ids are in use, the first is nearly always."""

_SAMPLES_PER_BOUND = 20
"""Number of sampled documents for each bound: chunks then differ by about a quarter in size."""

FILTERED_BYTES = 512 * 1024 * 1024
"""Least size of a range, in bytes of BSON, on a server that ignores `min` and `max`: it looks at
every document of the collection for each range."""

_FILTERED_RANGES = 4
"""Largest number of such ranges in a collection of any size, for the same reason."""

_NARROW = 4
"""One cursor with an index is faster than several if the filter matches less than 1 in 4."""

_INT64 = 0x12
_NUMBERS = frozenset({0x10, _INT64})
_IN_FILTERS = _NUMBERS | {0x02, 0x05, 0x07, 0x09}
"""Types of `_id`s for which a filter can express a range: numbers, strings, binary, ObjectIds,
dates."""

_ENDS = (bson.encode({"_id": MinKey()}), bson.encode({"_id": MaxKey()}))


class BoundFinder:
    """Finder of bounds, which learns from the first collection what the server can do.

    Args:
        client: the server.
        records: True if record ids may be used; each member of a replica set has its own.
    """

    def __init__(self, client: Client, *, records: bool) -> None:
        self._client = client
        self._knows_records = records
        self._can_sample = True
        self._honours_bounds: dict[bool, bool] = {}
        """True if the server honours `min` and `max`; by True for buckets, False for others."""

    def find(self, collection: Collection, pieces: int) -> Bounds:
        """Return bounds that cut a collection into about so many chunks; empty if none are found.

        Raises:
            PyMongoError: the server cannot be reached, or cannot answer at the moment.
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
        return _record_bounds(self._client, database, source, pieces)

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
            # mongos, and servers other than MongoDB, have no record ids.
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
    """Test if the server honours `min` and `max`: some ignore them without an error.

    The test asks for a document outside a bound, which a server finds only if it ignores the bound,
    as FerretDB 1.24 and 2.5 do. MongoDB 5.0 stores the buckets of a time series by `_id` without
    an index, so that there is nothing for bounds to apply to.

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
    """Return True if a document outside a bound is found, or if the server refuses the query."""
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
    """Return the BSON element that compares with the value of a bound `{_id: …}`."""
    identity = bound[4:-1]
    return identity[:1] + operator + b"\0" + identity[ID_VALUE:]


def comparison_filter(bound: bytes, operator: bytes) -> bytes:
    """Return the filter that compares `_id` with a bound `{_id: …}`."""
    return document(b"\x03_id\0" + document(comparison(bound, operator)))


def _for_filters(ids: Sequence[bytes], pieces: int) -> Bounds:
    """Return bounds for at most so many chunks, of the most frequent type that filters compare."""
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
    """Return True if an index finds the documents of the filter, and they are few.

    Then one cursor is faster than several that look at every document in ranges of `_id`.

    Raises:
        PyMongoError: the filter is invalid.
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
        return False  # servers other than MongoDB describe plans in other ways
    found = database.command({"count": name, "query": wanted, **NO_LIMIT})["n"]
    return bool(found * _NARROW < collection.documents)


def after_record(record: int | None) -> Document:
    """Return fields of `find` for a scan in storage order, after a record or from the beginning."""
    scan: Document = {"hint": {"$natural": 1}, "$_requestResumeToken": True}
    if record is not None:
        scan["$_resumeAfter"] = {"$recordId": Int64(record)}
    return scan


def _record_bounds(
    client: Client, database: Database[Document], source: Access, pieces: int
) -> tuple[int, ...]:
    first, last = records_at_ends(client, database, source)
    if first is None or last is None:
        return ()  # empty, or clustered, where a record id is the _id itself
    wanted = [first + (last - first) * piece // pieces for piece in range(1, pieces)]
    found = existing_records(client, database, source, wanted)
    if None in found:
        # Few of the record ids are in use: sample some that are.
        found = list(_sampled_records(database, source, pieces))
    return tuple(sorted({record for record in found if record is not None}))


def records_at_ends(
    client: Client, database: Database[Document], source: Access
) -> tuple[int | None, int | None]:
    """Return the first and the last record id of a collection; None if there is none.

    Raises:
        PyMongoError: as the driver does.
    """
    first, last = ask_each(client, partial(_record_at_end, database, source), (1, -1))
    return first, last


def _record_at_end(database: Database[Document], source: Access, direction: int) -> int | None:
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
    """Return the record id in a reply; None if it is not a number.

    The reply is not decoded, because its `_id` may be one that the driver cannot decode.
    """
    raw = bytes(found.raw)
    record = element(raw, b"$recordId")
    if record is None or record.kind != _INT64:
        return None
    return int.from_bytes(raw[record.value : record.end], "little", signed=True)


def existing_records(
    client: Client, database: Database[Document], source: Access, records: Iterable[int]
) -> list[int | None]:
    """Return for each record id the next one that is in use; None if it is not among the next few.

    Raises:
        PyMongoError: as the driver does.
    """
    return ask_each(client, partial(_existing_record, database, source), records)


def _existing_record(database: Database[Document], source: Access, record: int) -> int | None:
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
    ids = [
        bytes(found.raw)[4:-1] for found in sample(database, source, pieces * _SAMPLES_PER_BOUND)
    ]
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
    """Return `_id`s in the server's order, without MinKey and MaxKey, beyond which nothing is."""
    ids = [bytes(found.raw) for found in sample(database, source, pieces * _SAMPLES_PER_BOUND)]
    picked = (ids[len(ids) * piece // pieces] for piece in range(1, pieces) if ids)
    return tuple(bound for bound in dict.fromkeys(picked) if bound not in _ENDS)
