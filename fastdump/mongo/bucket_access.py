"""Find out under which name a server gives access to the buckets of a time series.

Until MongoDB 8.2, buckets are a collection of their own, `system.buckets.X`. Later servers can
store them under the name of the series: they do not list `system.buckets.X`, and refuse commands
that name it (MongoDB 9.0, code 491). There, a command with `rawData: true` and the name of the
series means the buckets instead of the measurements.

All other modules call buckets `system.buckets.X` on any server; this one asks the server which name
commands must use.

Sources: the server's system_buckets_metrics.cpp for the refusal; the drivers' ticket DRIVERS-3064
for the commands that take `rawData` (aggregate, count, createIndexes, delete, distinct, find,
insert, listIndexes, update, and some that are not needed here). `getMore` takes none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.model import BUCKETS, CollectionKind, Namespace
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.retry import passes

__all__ = ["Access", "access_to"]

_FORBIDDEN = 491
"""CommandNotSupportedOnLegacyTimeseriesBucketsNamespace."""


@dataclass(frozen=True, slots=True)
class Access:
    """Name and extra fields with which commands reach the stored documents of a collection."""

    collection: str
    """Name of the collection in commands."""
    has_buckets: bool = False
    """True if the documents are buckets of a time series."""
    fields: Document = field(default_factory=dict)
    """Fields that each command must contain."""

    def command(self, name: str) -> Document:
        """Return the first fields of a command on the collection."""
        return {name: self.collection, **self.fields}


def access_to(client: Client, namespace: Namespace) -> Access:
    """Return the access to a collection; the server is asked only about buckets.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    name = namespace.collection
    if not name.startswith(BUCKETS):
        return Access(name)
    if _are_hidden(open_database(client, namespace.database), name):
        return Access(name.removeprefix(BUCKETS), True, {"rawData": True})
    return Access(name, True)


def _are_hidden(database: Database[Document], buckets: str) -> bool:
    """Return True if the server does not allow the name of the buckets, which may not exist."""
    series = buckets.removeprefix(BUCKETS)
    wanted = {"name": {"$in": [series, buckets]}}
    reply = database.command({"listCollections": 1, "filter": wanted, "nameOnly": True})
    kinds = {entry["name"]: entry.get("type") for entry in reply["cursor"]["firstBatch"]}
    if kinds.get(series, CollectionKind.TIMESERIES) != CollectionKind.TIMESERIES:
        return False  # a collection of another kind has no buckets
    return (series in kinds and buckets not in kinds) or _is_forbidden(database, buckets)


def _is_forbidden(database: Database[Document], buckets: str) -> bool:
    try:
        database.command({"find": buckets, "limit": 1, "singleBatch": True})
    except OperationFailure as error:
        if passes(error):
            raise
        return error.code == _FORBIDDEN
    return False
