"""Reading at one moment: which servers can, since when, and for how long they keep it.

Source: the server's manual, "Read Concern snapshot". Outside of transactions, `find` and
`aggregate` may name the moment (`atClusterTime`), so that any number of connections read the same.
"""

from __future__ import annotations

import bson
from bson.binary import UUID_SUBTYPE, Binary
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from fastdump.model import ClusterTime, Namespace
from fastdump.mongo.client import UNAUTHORIZED, Client, Document, open_database

__all__ = [
    "COMMITTED",
    "WINDOW",
    "at_moment",
    "can_read_at",
    "has_history",
    "history_seconds",
    "keep_history",
    "now",
]

COMMITTED: Document = {"readConcern": {"level": "majority"}}
"""The part of `find` that reads what a majority has, which no change of the primary undoes."""

WINDOW = "minSnapshotHistoryWindowInSeconds"
"""The server's parameter for how long it keeps its history."""

_FIRST_VERSION = 6
"""The first that compares a collection's UUID (`collectionUUID`): before, one that was dropped
looks empty."""

_PATIENCE_MS = 10_000
"""How long the members of a replica set may take to agree on a moment."""


def at_moment(at: ClusterTime | None, uuid: str | None) -> Document:
    """The part of `find` that reads that collection at that moment; nothing where it is now."""
    if at is None:
        return {}
    concern = {"level": "snapshot", "atClusterTime": Timestamp(*at)}
    if uuid is None:
        return {"readConcern": concern}
    expected = Binary(bytes.fromhex(uuid), UUID_SUBTYPE)
    return {"readConcern": concern, "collectionUUID": expected}


def has_history(client: Client) -> bool:
    """Whether this is a server that can be read at a moment: no standalone, and new enough.

    Raises:
        PyMongoError: the server does not answer.
    """
    hello = client.admin.command("hello")
    is_cluster = "setName" in hello or hello.get("msg") == "isdbgrid"
    return is_cluster and client.server_info()["versionArray"][0] >= _FIRST_VERSION


def now(client: Client) -> ClusterTime:
    """The server's last operation: everything that this client has seen was so by then.

    Raises:
        PyMongoError: the server does not answer.
    """
    time = client.admin.command("ping")["operationTime"]
    return ClusterTime(time.time, time.inc)


def can_read_at(client: Client, namespace: Namespace, at: ClusterTime) -> bool:
    """Whether the server shows that moment, asked for real.

    Raises:
        PyMongoError: the server does not answer.
    """
    command = {
        "find": namespace.collection,
        "limit": 1,
        "singleBatch": True,
        "maxTimeMS": _PATIENCE_MS,
        **at_moment(at, None),
    }
    try:
        open_database(client, namespace.database).command(command)
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            raise
        return False
    return True


def history_seconds(client: Client) -> int | None:
    """For how long the server keeps its history; None where it does not say.

    Raises:
        PyMongoError: the server does not answer.
    """
    try:
        found = client.admin.command({"getParameter": 1, WINDOW: 1})
    except OperationFailure:
        return None  # without the right, or through mongos, which has none
    return int(found[WINDOW])


def keep_history(client: Client, seconds: int) -> None:
    """Have the server keep its history for so long, until it restarts.

    Raises:
        PyMongoError: the server does not answer, or the user has no right to do this.
    """
    client.admin.command({"setParameter": 1, WINDOW: bson.Int64(seconds)})
