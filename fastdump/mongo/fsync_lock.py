"""Keeping everybody from writing to a server (`fsync` with `lock`), and knowing whose lock it is.

The server does not say who locked it. So an open cursor says it: its comment is ours, it outlives
the process that opened it, and for as long as the server is locked nothing removes it.
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
"""What the comments of our cursors begin with, and the names of the connections that hold locks."""

_RETRY_SECONDS = 60
"""For how long at least to try to unlock a server that went away."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who of ours locked a server."""

    name: str
    alive: bool
    """Whether the connection that holds the lock is still there."""
    namespace: Namespace
    """Where its cursor is."""
    cursor: int


class HeldLock:
    """A lock with a connection of its own.

    Args:
        connection: the server.
        namespace: a collection that exists, for the cursor that says whose lock it is.
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
        """Lock the server, when what is being written has ended.

        Raises:
            ServerError: the server cannot be reached, or the user has no right to do this.
        """
        try:
            with translated(self._connection):
                self._cursor = _mark(self._client, self._session, self._namespace, self.name)
                self._client.admin.command({"fsync": 1, "lock": True})
        except ServerError:
            self._close()
            raise

    def keep_alive(self) -> None:
        """Use the connection, so that nothing between here and there ends it."""
        # Where it was lost, the next use makes another, and unlocking tells what became of it.
        with suppress(PyMongoError):
            self._client.admin.command("ping")

    def release(self) -> bool:
        """Unlock the server; returns whether it was still locked.

        Raises:
            ServerError: the server cannot be reached.
        """
        with translated(self._connection):
            was_locked = retrying(self._connection)(unlock, self._client)
        self._close()
        return was_locked

    def _close(self) -> None:
        """Take the cursor away too: who locks the server later must not be taken for us."""
        with suppress(PyMongoError):
            _unmark(self._client, self._namespace, self._cursor)
        self._client.close()


def _mark(client: Client, session: ClientSession, namespace: Namespace, name: str) -> int:
    """Leave a cursor on that collection, which must exist, that says who locks the server.

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
    """Take back one lock, of whoever it is; returns whether there was one.

    Raises:
        PyMongoError: the server does not answer, or the user has no right to do this.
    """
    try:
        client.admin.command({"fsyncUnlock": 1})
    except OperationFailure as error:
        if "not locked" in str(error):  # there is no code for it
            return False
        raise
    return True


def is_locked(client: Client) -> bool:
    """Whether nobody can write to the server.

    Raises:
        PyMongoError: the server does not answer.
    """
    return bool(client.admin.command({"currentOp": 1, "$ownOps": True}).get("fsyncLock"))


def refuse_mongos(client: Client, connection: Connection) -> None:
    """See that this is a server of its own.

    A mongos since 7.0.2 locks all shards, but does not show which connections to them are alive:
    nobody could tell a lock that is in use from one that a killed run left behind.

    Raises:
        PyMongoError: the server does not answer.
        UsageError: it is a mongos.
    """
    if is_mongos(client):
        raise UsageError(
            f"{connection.shown} is a mongos, through which fastdump does not lock or unlock: use "
            "--consistency snapshot (MongoDB 6.0 or later), or connect to each shard by itself"
        )


def holders(client: Client) -> list[Holder]:
    """Our locks, also those whose process is gone.

    Raises:
        PyMongoError: the server does not answer.
    """
    if is_mongos(client):
        return []
    options = {"allUsers": False, "idleConnections": True, "idleCursors": True}
    try:
        # What others do may be anything, and is not decoded.
        admin = client.admin.with_options(RAW)
        operations = list(admin.aggregate([{"$currentOp": options}]))
    except OperationFailure as error:
        if error.code == AUTHENTICATION_FAILED:
            raise
        return []  # other servers of the protocol, which cannot be locked either
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
    """Take back a lock of ours; returns whether there was one.

    Raises:
        PyMongoError: the server does not answer, or the user has no right to do this.
    """
    was_locked = unlock(client)
    _unmark(client, holder.namespace, holder.cursor)
    return was_locked
