"""Connect to servers, and translate the driver's errors into fastdump's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    InvalidName,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.uri_parser import parse_uri

from fastdump.errors import (
    CollectionChangedError,
    ReplyError,
    ServerError,
    SnapshotUnavailableError,
    UsageError,
)
from fastdump.model import Connection, ServerInfo
from fastdump.mongo.replica import asked_of_seeds, check_usable
from fastdump.mongo.retry import retrying
from fastdump.mongo.uri import left_out
from fastdump.version import __version__

__all__ = [
    "AUTHENTICATION_FAILED",
    "MONGOS",
    "NAMESPACE_EXISTS",
    "NAMESPACE_NOT_FOUND",
    "RAW",
    "STRICT",
    "UNAUTHORIZED",
    "Client",
    "Database",
    "Document",
    "connect",
    "has_own_records",
    "is_in_a_set",
    "is_mongos",
    "open_database",
    "said",
    "same_server",
    "server_info",
    "translated",
    "uri_notes",
]

Document = dict[str, Any]
"""A decoded document: a command or a reply, never a user's data."""

Client = MongoClient[Document]
"""A driver's client, which is connected to a server or a cluster."""


class Reply(RawBSONDocument):
    """Reply of a server, or a document in one, whose fields are decoded when they are used.

    So values that Python cannot decode do no harm if nobody uses them, such as an `_id` beside the
    text of an error. Text that is not UTF-8 is replaced.
    """

    def __getitem__(self, name: str) -> Any:
        """Return a field.

        Raises:
            ReplyError: there is no field of that name.
        """
        try:
            return super().__getitem__(name)
        except KeyError:
            raise ReplyError(f"a reply of the server has no field {name!r}") from None


RAW: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=Reply,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
"""Options for replies, which stay bytes."""

STRICT = RAW.with_options(document_class=RawBSONDocument, unicode_decode_error_handler="strict")
"""Options for documents that are written again, in which no text may change."""

_REACH_SECONDS = 10
"""Seconds to look for a server; the driver's own 30 s make a wrong address look like a hang."""

_SECONDARY = "RSSecondary"
"""The driver's word for the type of a member that could become the primary."""

_LEAVE_SECONDS = 1
MONGOS = "isdbgrid"
"""Name that a mongos gives itself in its reply to `hello`."""

_OF_A_SET = frozenset(
    {"replicaset", "directconnection", "loadbalanced", "readpreference", "readpreferencetags",
     "maxstalenessseconds"}
)  # fmt: skip

UNAUTHORIZED, NAMESPACE_NOT_FOUND, NAMESPACE_EXISTS = 13, 26, 48
_HISTORY_GONE = frozenset({239, 250})
"""SnapshotTooOld and, of sharded clusters, StaleChunkHistory."""
_CHANGED = frozenset({246, 361})
"""SnapshotUnavailable and CollectionUUIDMismatch: the collection was dropped, renamed or created
again since the moment at which it is read."""
AUTHENTICATION_FAILED = 18
_LONGEST = 300


class _Database(Database[Document]):
    """Database whose replies are decoded only when their fields are used."""

    def command(self, *arguments: Any, **more: Any) -> Any:
        return super().command(*arguments, **{"codec_options": RAW, **more})


class _Client(MongoClient[Document]):
    """Client whose `close` does not wait for a server that is gone."""

    def __getitem__(self, name: str) -> Database[Document]:
        return _Database(self, name)

    def close(self) -> None:
        with pymongo.timeout(_LEAVE_SECONDS):
            super().close()


def connect(connection: Connection) -> Client:
    """Return a client for a server. Nothing is sent yet; create it in the process that uses it.

    Raises:
        UsageError: the connection string is malformed.
    """
    app_name = connection.app_name or f"fastdump {__version__}"
    options: dict[str, Any] = {"appname": app_name, "tz_aware": False}
    if "serverselectiontimeoutms" not in connection.uri.lower():
        options["serverSelectionTimeoutMS"] = _REACH_SECONDS * 1000
    if connection.username is not None:
        options["username"] = connection.username
        options["password"] = connection.password
    options.update(connection.options)
    where = connection.uri
    for one in left_out(where):
        if not one.is_harmless:
            raise UsageError(f"invalid connection string for {connection.shown}: {one[0]}")
    try:
        with warnings.catch_warnings():
            # Warnings of options are handled above; others are about servers other than MongoDB.
            warnings.simplefilter("ignore", UserWarning)
            if connection.member is not None:
                where, options = connection.member, _for_one_member(connection, options)
            return _Client(
                where,
                # A date beyond year 9999 is legal in a database and must not stop a catalog.
                datetime_conversion=DatetimeConversion.DATETIME_AUTO,
                unicode_decode_error_handler="replace",
                **options,
            )
    except (ConfigurationError, OSError, TypeError, ValueError) as error:
        # An OSError is a certificate that cannot be read.
        raise UsageError(
            f"invalid connection string or options for {connection.shown}: "
            f"{_scrubbed(error, connection)}"
        ) from None


def uri_notes(connection: Connection) -> list[str]:
    """Return notes on harmless options of a connection string that the driver ignores."""
    return [
        f"the connection to {connection.shown}: {one.message}"
        for one in left_out(connection.uri)
        if one.is_harmless
    ]


def _for_one_member(connection: Connection, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the connection string without those that look for other members."""
    described = parse_uri(connection.uri, warn=True)
    of_uri = {
        name: value for name, value in described["options"].items() if name.lower() not in _OF_A_SET
    }
    user = {
        name: described[name] for name in ("username", "password") if described[name] is not None
    }
    return {**of_uri, **user, **options, "directConnection": True}


def open_database(client: Client, name: str) -> Database[Document]:
    """Return the database of that name, which need not exist.

    Raises:
        UsageError: no database can have that name.
    """
    try:
        return client[name]
    except InvalidName as error:
        raise UsageError(f"{name!r} cannot be the name of a database: {error}") from error


def server_info(client: Client, connection: Connection) -> ServerInfo:
    """Ask the server for its version and topology.

    Raises:
        ServerError: the server does not answer or refuses, or should be in a replica set and is
            not.
        UsageError: the server is an arbiter, which holds no data.
    """
    with translated(connection):
        hello = first_answer(client, connection)
        check_usable(client, connection.shown, hello)
        version = client.server_info()["version"]
    topology = "standalone"
    if "setName" in hello:
        topology = "replica set"
    elif hello.get("msg") == MONGOS:
        topology = "sharded cluster"
    return ServerInfo(connection.shown, version, topology)


def first_answer(client: Client, connection: Connection) -> dict[str, Any]:
    """Return the answer to `hello`, the first thing that is asked.

    A server that does not answer ends the command soon, because its address may be wrong. But a
    replica set that is just electing a primary is waited for.

    Raises:
        PyMongoError: the server does not answer.
    """
    try:
        return client.admin.command("hello")
    except ServerSelectionTimeoutError:
        servers = client.topology_description.server_descriptions().values()
        if not any(one.server_type_name == _SECONDARY for one in servers):
            raise
    return retrying(connection)(client.admin.command, "hello")


def has_own_records(client: Client) -> bool:
    """Return True if record ids keep their meaning for as long as this server is read.

    Each member of a replica set has its own ids, so after a failover they mean other documents.

    Raises:
        PyMongoError: the server does not answer.
    """
    hello = client.admin.command("hello")
    return len(hello.get("hosts", ())) + len(hello.get("passives", ())) <= 1


def is_in_a_set(client: Client) -> bool:
    """Return True if the server is in a replica set, from what it said when it was connected to."""
    servers = client.topology_description.server_descriptions().values()
    return any(one.replica_set_name is not None for one in servers)


def is_mongos(client: Client) -> bool:
    """Return True if the server is a mongos, or says that it is one.

    Raises:
        PyMongoError: the server does not answer.
    """
    return client.admin.command("hello").get("msg") == MONGOS


def same_server(
    one: Client, connection: Connection, other: Client, other_connection: Connection
) -> bool:
    """Return True if both clients lead to the same data: one process, or one replica set.

    Raises:
        ServerError: one of the servers does not answer or refuses.
    """
    with translated(connection):
        first = one.admin.command("hello")
    with translated(other_connection):
        second = other.admin.command("hello")
    if "setName" in first and first.get("setName") == second.get("setName"):
        return not set(first.get("hosts", ())).isdisjoint(second.get("hosts", ()))
    process = first.get("topologyVersion", {}).get("processId")
    if process is None:
        return connection.shown == other_connection.shown
    return bool(process == second.get("topologyVersion", {}).get("processId"))


@contextmanager
def translated(connection: Connection) -> Iterator[None]:
    """Translate the driver's errors inside the context into fastdump's, without passwords.

    Raises:
        CollectionChangedError: a collection can no longer be read as it was.
        ServerError: the server cannot be reached or refuses.
        SnapshotUnavailableError: the server no longer has the history of the snapshot.
    """
    try:
        yield
    except PyMongoError as error:
        raise _kind(error)(_explained(error, connection)) from None
    except BSONError as error:
        raise ServerError(
            f"a reply of {connection.shown} cannot be decoded: {_scrubbed(error, connection)}"
        ) from None


def _kind(error: PyMongoError) -> type[ServerError]:
    code = error.code if isinstance(error, OperationFailure) else None
    if code in _HISTORY_GONE:
        return SnapshotUnavailableError
    return CollectionChangedError if code in _CHANGED else ServerError


def said(error: OperationFailure) -> str:
    """Return the server's own reason for a refusal, with its code."""
    details = error.details or {}
    name = details.get("codeName")
    code = f"code {error.code}, {name}" if name else f"code {error.code}"
    return f"the server says: {str(details.get('errmsg', error))[:_LONGEST]} ({code})"


def _explained(error: PyMongoError, connection: Connection) -> str:
    where, said = connection.shown, _scrubbed(error, connection)
    if isinstance(error, OperationFailure):
        if error.code == AUTHENTICATION_FAILED:
            return (
                f"{where} does not accept the user name or the password: check both, "
                "and the authSource of the connection string"
            )
        if error.code == UNAUTHORIZED:
            return f"the user has no right to do this on {where}: {said}"
        if error.code in _HISTORY_GONE:
            return (
                f"{where} no longer has the history of the snapshot: it keeps history only for "
                "minSnapshotHistoryWindowInSeconds, and reading took longer; use "
                "--raise-snapshot-window, which raises that meanwhile, or --consistency oplog, or "
                f"--consistency none ({said})"
            )
        if error.code in _CHANGED:
            return (
                f"a collection of {where} was dropped, renamed or created again while it was read, "
                f"so it can no longer be read as it was; run the same command again ({said})"
            )
        return f"{where} refused: {said}"
    if isinstance(error, ServerSelectionTimeoutError):
        if (known := asked_of_seeds(connection)) is not None:
            return f"{known} ({said})"
        return (
            f"no server answers at {where}: check that it is running and that the address is "
            f"right ({said})"
        )
    if isinstance(error, AutoReconnect):
        return f"the connection to {where} was lost: {said}; run the same command again"
    return f"{where}: {said}"


def _scrubbed(error: Exception, connection: Connection) -> str:
    # OperationFailure appends the whole reply; errors of server selection the whole topology.
    text = str(error).split(", full error:")[0].split(", Timeout:")[0]
    # A server that refuses a command may repeat all of it, including the user's documents.
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    text = re.sub(r"//[^/@\s]*@", "//", text)
    return text.replace(connection.password, "***") if connection.password else text
