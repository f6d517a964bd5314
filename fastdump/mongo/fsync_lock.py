"""Lock a server against writes (`fsync` with `lock`), and recognize fastdump's own locks.

The server does not tell who locked it. So each lock is marked by an open cursor with our comment.
This cursor outlives the process that opened it, and stays for as long as the server is locked.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, replace

from bson.int64 import Int64
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure, PyMongoError

from fastdump.errors import ServerError, UsageError
from fastdump.model import Connection, Namespace
from fastdump.mongo.client import (
    AUTHENTICATION_FAILED,
    RAW,
    Client,
    connect,
    is_mongos,
    open_database,
    translated,
)
from fastdump.mongo.retry import retrying

__all__ = ["HeldLock", "Holder", "holders", "is_locked", "refuse_mongos", "release", "unlock"]

_NAME = "fastdump lock"
"""Beginning of the comments of our cursors, and of the names of the connections that hold locks."""

_RETRY_SECONDS = 60
"""Least time of trying to unlock a server that went away, in seconds."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Mark of a lock that a run of fastdump holds, or held until it was killed."""

    name: str
    """Comment of the cursor, and name of the connection."""
    alive: bool
    """True if the connection that holds the lock still exists."""
    namespace: Namespace
    """Collection of the cursor."""
    cursor: int
    """Id of the cursor."""


class HeldLock:
    """Lock of a server, with a connection of its own.

    Args:
        connection: the server.
        namespace: a collection that exists, for the cursor that marks the lock.
    """

    def __init__(self, connection: Connection, namespace: Namespace) -> None:
        name = f"{_NAME} {uuid.uuid4().hex}"
        self._connection = replace(
            connection, app_name=name, retry_seconds=max(connection.retry_seconds, _RETRY_SECONDS)
        )
        self._namespace = namespace
        self._client = connect(self._connection)
        self._session = self._client.start_session(causal_consistency=False)
        self._cursor = 0
        self.name = name

    def take(self) -> None:
        """Lock the server after its running writes have ended.

        Raises:
            ServerError: the server cannot be reached, or the user lacks the right to lock it.
        """
        try:
            with translated(self._connection):
                self._cursor = _mark(self._client, self._session, self._namespace, self.name)
                self._client.admin.command({"fsync": 1, "lock": True})
        except ServerError:
            self._close()
            raise

    def keep_alive(self) -> None:
        """Use the connection, so that no firewall closes it for being idle."""
        # If it was lost, the driver opens another; `release` tells if the lock is still there.
        with suppress(PyMongoError):
            self._client.admin.command("ping")

    def release(self) -> bool:
        """Unlock the server, and return True if it was still locked.

        Raises:
            ServerError: the server cannot be reached.
        """
        with translated(self._connection):
            was_locked = retrying(self._connection)(unlock, self._client)
        self._close()
        return was_locked

    def _close(self) -> None:
        """Remove the cursor too, so that a later lock of somebody else is not taken for ours."""
        with suppress(PyMongoError):
            _unmark(self._client, self._namespace, self._cursor)
        self._client.close()


def _mark(client: Client, session: ClientSession, namespace: Namespace, name: str) -> int:
    """Open a cursor that marks the lock as ours, on a collection that must exist.

    Returns:
        The cursor's id.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    command = {
        "find": namespace.collection,
        "hint": {"$natural": 1},
        "batchSize": 0,
        "noCursorTimeout": True,
        "comment": name,
    }
    reply = open_database(client, namespace.database).command(command, session=session)
    return int(reply["cursor"]["id"])


def _unmark(client: Client, namespace: Namespace, cursor: int) -> None:
    open_database(client, namespace.database).command(
        {"killCursors": namespace.collection, "cursors": [Int64(cursor)]}
    )


def unlock(client: Client) -> bool:
    """Release one lock, whoever took it, and return False if there was none.

    Raises:
        PyMongoError: the server does not answer, or the user lacks the right to unlock it.
    """
    try:
        client.admin.command({"fsyncUnlock": 1})
    except OperationFailure as error:
        if "not locked" in str(error):  # this error has no code of its own
            return False
        raise
    return True


def is_locked(client: Client) -> bool:
    """Return True if the server is locked against writes.

    Raises:
        PyMongoError: the server does not answer.
    """
    return bool(client.admin.command({"currentOp": 1, "$ownOps": True}).get("fsyncLock"))


def refuse_mongos(client: Client, connection: Connection) -> None:
    """Check that the server is not a mongos.

    Since 7.0.2 a mongos locks all shards, but does not show which connections to them are alive. So
    a lock in use could not be told from one that a killed run left behind.

    Raises:
        PyMongoError: the server does not answer.
        UsageError: the server is a mongos.
    """
    if is_mongos(client):
        raise UsageError(
            f"{connection.shown} is a mongos, and fastdump cannot lock or unlock through mongos: "
            "use --consistency snapshot (MongoDB 6.0 or later), or connect to each shard directly"
        )


def holders(client: Client) -> list[Holder]:
    """Return fastdump's locks of a server, including those whose process is gone.

    Raises:
        PyMongoError: the server does not answer.
    """
    if is_mongos(client):
        return []
    options = {"allUsers": False, "idleConnections": True, "idleCursors": True}
    try:
        # Operations of others can contain anything, so they are not decoded.
        admin = client.admin.with_options(RAW)
        operations = list(admin.aggregate([{"$currentOp": options}]))
    except OperationFailure as error:
        if error.code == AUTHENTICATION_FAILED:
            raise
        return []  # a server other than MongoDB, which cannot be locked either
    connected = {operation.get("appName") for operation in operations}
    found = []
    for operation in operations:
        cursor = operation.get("cursor", {})
        name = cursor.get("originatingCommand", {}).get("comment")
        if isinstance(name, str) and name.startswith(_NAME):
            namespace = Namespace(*operation["ns"].split(".", 1))
            found.append(Holder(name, name in connected, namespace, cursor["cursorId"]))
    return found


def release(client: Client, holder: Holder) -> bool:
    """Release a lock of fastdump's and its mark, and return False if there was no lock.

    Raises:
        PyMongoError: the server does not answer, or the user lacks the right to unlock it.
    """
    was_locked = unlock(client)
    _unmark(client, holder.namespace, holder.cursor)
    return was_locked
