"""How the buckets of a time series are reached: by a name of their own, or by that of the series.

Until MongoDB 8.2 they are a collection of their own, `system.buckets.X`. Later servers can keep
them under the name of the series, do not list them, and refuse whatever names them (MongoDB 9.0,
code 491). There a command that carries `rawData: true` means the buckets and not the measurements.

Everything else in this program calls buckets `system.buckets.X`, on any server: what a server wants
to be asked instead is found out here, by asking it.

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
    """What commands call a collection, and what else they must say to mean what it stores."""

    collection: str
    has_buckets: bool = False
    """Whether it stores the buckets of a time series."""
    fields: Document = field(default_factory=dict)
    """What each command must carry."""

    def command(self, name: str) -> Document:
        """Return the beginning of that command."""
        return {name: self.collection, **self.fields}


def access_to(client: Client, namespace: Namespace) -> Access:
    """Return how a collection is reached; only for buckets is the server asked.

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
    """Return whether the buckets of a time series, which may be gone, cannot be named."""
    series = buckets.removeprefix(BUCKETS)
    wanted = {"name": {"$in": [series, buckets]}}
    reply = database.command({"listCollections": 1, "filter": wanted, "nameOnly": True})
    kinds = {entry["name"]: entry.get("type") for entry in reply["cursor"]["firstBatch"]}
    if kinds.get(series, CollectionKind.TIMESERIES) != CollectionKind.TIMESERIES:
        return False  # what another collection stores are no buckets
    return (series in kinds and buckets not in kinds) or _is_forbidden(database, buckets)


def _is_forbidden(database: Database[Document], buckets: str) -> bool:
    try:
        database.command({"find": buckets, "limit": 1, "singleBatch": True})
    except OperationFailure as error:
        if passes(error):
            raise
        return error.code == _FORBIDDEN
    return False
