"""Reading at one moment: which servers can, since when, and for how long they keep it.

Source: the server's manual, "Read Concern snapshot". Outside of transactions, `find` and
`aggregate` may name the moment (`atClusterTime`), so that any number of connections read the same.
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
"""The part of `find` that reads what a majority has, which no change of the primary undoes."""

WINDOW = "minSnapshotHistoryWindowInSeconds"
"""The server's parameter for how long it keeps its history."""

ASSUMED_SECONDS = 300
"""Its default, for servers that do not say. Source: the server's manual, "Server Parameters"."""

NO_COLLECTION = "fastdump.no.such.collection"
"""A name to read where there is no collection that a test could read."""

_LONG_AGO = ClusterTime(1, 1)
"""A moment in 1970, which no server can show. MongoDB refuses it (239 or 246) without reading
anything; a server that ignores moments answers with documents."""

_NOT_IN_A_SET, _TIMED_OUT = 123, 50
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


def why_unavailable(client: Client, database: str | None) -> str | None:
    """Return why this server cannot be read as it was at one moment; None where it may be.

    Args:
        client: the server.
        database: one that the user may read; None is `admin`.

    Raises:
        PyMongoError: the server does not answer.
    """
    if "operationTime" in client.admin.command("ping"):
        version = client.server_info()
        if (version.get("versionArray") or [0])[0] >= _FIRST_VERSION:
            return None
        return (
            f"MongoDB {version.get('version')} does not say when a collection is dropped and made "
            "anew meanwhile, as 6.0 and later do; use --consistency oplog or lock"
        )
    # A standalone, or another server of the protocol: let it say so itself.
    namespace = Namespace(database or "admin", NO_COLLECTION)
    try:
        error = _refused(client, namespace, _LONG_AGO)
    except OperationFailure as refused:
        if passes(refused):
            raise
        error = None
    if error is None:
        return "the server does not say its time (operationTime)"
    if error.code != _NOT_IN_A_SET:
        return said(error)
    return f"{said(error)}; make it a replica set, if only of one member, or use --consistency lock"


def now(client: Client) -> ClusterTime:
    """Return the time of the server's last operation.

    All that this client has seen was so by then.

    Raises:
        PyMongoError: the server does not answer.
        SnapshotUnavailableError: it does not say.
    """
    time = client.admin.command("ping").get("operationTime")
    if time is None:
        raise SnapshotUnavailableError("the server does not say its time (operationTime)")
    return ClusterTime(time.time, time.inc)


def read_clock(client: Client) -> bytes | None:
    """Return the time of the server's cluster, signed by it, as BSON; None where there is none.

    Raises:
        PyMongoError: the server does not answer.
    """
    clock = client.admin.command("ping").get("$clusterTime")
    return None if clock is None else bson.encode(clock)


def advance_clock(client: Client, clock: bytes) -> None:
    """Tell a server the time that others of its cluster have reached.

    It refuses to be read at a moment after its own time (code 72). The driver tells every server
    that this client uses from now on.

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
    """Return why the server does not show a collection as it was at a moment; None where it does.

    Raises:
        PyMongoError: the server does not answer, or the user may not read the collection.
    """
    error = _refused(client, namespace, at)
    if error is None:
        return None
    hint = "; a majority of the replica set must be up" if error.code == _TIMED_OUT else ""
    return said(error) + hint


def ignores_moments(client: Client, namespace: Namespace) -> bool:
    """Return whether the server accepts a moment and reads what there is now all the same.

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
    """For how long the server keeps its history; None where it does not say.

    Raises:
        PyMongoError: the server does not answer.
    """
    try:
        found = client.admin.command({"getParameter": 1, WINDOW: 1})
    except OperationFailure as error:
        if passes(error):
            raise
        return None  # without the right, or through mongos, which has none
    return int(found[WINDOW])


def keep_history(client: Client, seconds: int) -> None:
    """Have the server keep its history for so long, until it restarts.

    Raises:
        PyMongoError: the server does not answer, or the user has no right to do this.
    """
    client.admin.command({"setParameter": 1, WINDOW: bson.Int64(seconds)})
