"""Read at one moment: test if a server can, and how long it keeps the history that this needs.

Source: the server's manual, "Read Concern snapshot". Outside of transactions, `find` and
`aggregate` can name the moment (`atClusterTime`), so that any number of connections read the same.
"""

from __future__ import annotations

import bson
from bson.binary import UUID_SUBTYPE, Binary
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from fastdump.errors import SnapshotUnavailableError
from fastdump.model import ClusterTime, Namespace
from fastdump.mongo.bucket_access import access_to
from fastdump.mongo.client import UNAUTHORIZED, Client, Document, open_database, said
from fastdump.mongo.retry import passes

__all__ = [
    "ASSUMED_SECONDS",
    "COMMITTED",
    "NO_COLLECTION",
    "WINDOW",
    "advance_clock",
    "at_moment",
    "history_seconds",
    "ignores_moments",
    "keep_history",
    "now",
    "read_clock",
    "refusal_at",
    "why_unavailable",
]

COMMITTED: Document = {"readConcern": {"level": "majority"}}
"""Fields of `find` that read only writes that a majority has, which no new primary rolls back."""

WINDOW = "minSnapshotHistoryWindowInSeconds"
"""The server's parameter for the number of seconds that it keeps its history."""

ASSUMED_SECONDS = 300
"""Default of the parameter, assumed if a server does not tell it. Source: the server's manual,
"Server Parameters"."""

NO_COLLECTION = "fastdump.no.such.collection"
"""A name for a test read if there is no collection."""

_LONG_AGO = ClusterTime(1, 1)
"""A moment in 1970, which no server can read. MongoDB refuses it (239 or 246) without reading
anything; a server that ignores moments answers with documents."""

_NOT_IN_A_SET, _TIMED_OUT = 123, 50
_FIRST_VERSION = 6
"""First version that compares a collection's UUID (`collectionUUID`); before, a dropped collection
looks empty."""

_PATIENCE_MS = 10_000
"""Milliseconds that the members of a replica set may take to agree on a moment."""


def at_moment(at: ClusterTime | None, uuid: str | None) -> Document:
    """Return fields of `find` that read a collection at a moment; empty if `at` is None.

    Args:
        at: the cluster time.
        uuid: the UUID that the collection must have at that time; None for any.
    """
    if at is None:
        return {}
    concern = {"level": "snapshot", "atClusterTime": Timestamp(*at)}
    if uuid is None:
        return {"readConcern": concern}
    expected = Binary(bytes.fromhex(uuid), UUID_SUBTYPE)
    return {"readConcern": concern, "collectionUUID": expected}


def why_unavailable(client: Client, database: str | None) -> str | None:
    """Return the reason why this server offers no snapshot; None if it may offer one.

    Args:
        client: the server.
        database: a database that the user may read; None for `admin`.

    Raises:
        PyMongoError: the server does not answer.
    """
    if "operationTime" in client.admin.command("ping"):
        version = client.server_info()
        if (version.get("versionArray") or [0])[0] >= _FIRST_VERSION:
            return None
        return (
            f"MongoDB {version.get('version')} does not tell if a collection is dropped and "
            "created again meanwhile, as 6.0 and later do; use --consistency oplog or lock"
        )
    # A standalone, or a server other than MongoDB: its own answer tells the reason.
    namespace = Namespace(database or "admin", NO_COLLECTION)
    try:
        error = _refused(client, namespace, _LONG_AGO)
    except OperationFailure as refused:
        if passes(refused):
            raise
        error = None
    if error is None:
        return "the server does not tell its time (operationTime)"
    if error.code != _NOT_IN_A_SET:
        return said(error)
    return f"{said(error)}; make it a replica set (one member is enough), or use --consistency lock"


def now(client: Client) -> ClusterTime:
    """Return the time of the server's last operation.

    Everything that this client has read before existed at that time.

    Raises:
        PyMongoError: the server does not answer.
        SnapshotUnavailableError: the server does not tell its time.
    """
    time = client.admin.command("ping").get("operationTime")
    if time is None:
        raise SnapshotUnavailableError("the server does not tell its time (operationTime)")
    return ClusterTime(time.time, time.inc)


def read_clock(client: Client) -> bytes | None:
    """Return the signed time of the server's cluster as BSON; None if the server has none.

    Raises:
        PyMongoError: the server does not answer.
    """
    clock = client.admin.command("ping").get("$clusterTime")
    return None if clock is None else bson.encode(clock)


def advance_clock(client: Client, clock: bytes) -> None:
    """Send a server the time that other members of its cluster have reached.

    A server refuses to read at a moment after its own time (code 72). From now on the driver sends
    this time to every server that the client uses.

    Args:
        client: the server.
        clock: from `read_clock`, of any server of the cluster.

    Raises:
        PyMongoError: the server does not answer.
    """
    with client.start_session() as session:
        session.advance_cluster_time(bson.decode(clock))
        client.admin.command("ping", session=session)


def refusal_at(client: Client, namespace: Namespace, at: ClusterTime) -> str | None:
    """Return the reason why a collection cannot be read at a moment; None if it can.

    Raises:
        PyMongoError: the server does not answer, or the user may not read the collection.
    """
    error = _refused(client, namespace, at)
    if error is None:
        return None
    hint = "; a majority of the replica set must be up" if error.code == _TIMED_OUT else ""
    return said(error) + hint


def ignores_moments(client: Client, namespace: Namespace) -> bool:
    """Return True if the server accepts a moment, but reads the present all the same.

    Raises:
        PyMongoError: the server does not answer, or the user may not read the collection.
    """
    return _refused(client, namespace, _LONG_AGO) is None


def _refused(client: Client, namespace: Namespace, at: ClusterTime) -> OperationFailure | None:
    command = {
        **access_to(client, namespace).command("find"),
        "hint": {"$natural": 1},
        "limit": 1,
        "singleBatch": True,
        "maxTimeMS": _PATIENCE_MS,
        **at_moment(at, None),
    }
    try:
        open_database(client, namespace.database).command(command)
    except OperationFailure as error:
        if error.code == UNAUTHORIZED or passes(error):
            raise
        return error
    return None


def history_seconds(client: Client) -> int | None:
    """Return the seconds that the server keeps its history; None if it does not tell.

    Raises:
        PyMongoError: the server does not answer.
    """
    try:
        found = client.admin.command({"getParameter": 1, WINDOW: 1})
    except OperationFailure as error:
        if passes(error):
            raise
        return None  # the user lacks the right, or it is a mongos, which has no history
    return int(found[WINDOW])


def keep_history(client: Client, seconds: int) -> None:
    """Set the seconds that the server keeps its history, until it restarts.

    Raises:
        PyMongoError: the server does not answer, or the user lacks the right to set parameters.
    """
    client.admin.command({"setParameter": 1, WINDOW: bson.Int64(seconds)})
