"""Connecting to a server, and the one place where the driver's errors become fastdump's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, WriteConcern
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    InvalidName,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from fastdump.errors import ServerError, UsageError
from fastdump.model import Connection, ServerInfo
from fastdump.version import __version__

__all__ = [
    "RAW",
    "Client",
    "Database",
    "Document",
    "connect",
    "open_database",
    "same_server",
    "server_info",
    "translated",
    "write_concern",
]

Document = dict[str, Any]
"""A decoded document: commands and their replies, never a user's data."""

Client = MongoClient[Document]
"""A connection to a server or a cluster."""

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
"""Replies stay bytes."""

_REACH_SECONDS = 10
"""How long to look for a server; the driver's own 30 s make a typing mistake look like a hang."""

_UNAUTHORIZED, _AUTHENTICATION_FAILED = 13, 18


def connect(connection: Connection) -> Client:
    """A client for that server. Nothing is sent yet; make it in the process that uses it.

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
    try:
        with warnings.catch_warnings():
            # PyMongo only warns of an option that it cannot read, as tls=maybe, and drops it.
            warnings.simplefilter("error", UserWarning)
            return MongoClient(
                connection.uri,
                # A date beyond year 9999 is legal in a database and must not stop a catalog.
                datetime_conversion=DatetimeConversion.DATETIME_AUTO,
                **options,
            )
    except (ConfigurationError, TypeError, UserWarning, ValueError) as error:
        raise UsageError(
            f"the connection to {connection.shown} is wrongly described: "
            f"{_scrubbed(error, connection)}"
        ) from None


def open_database(client: Client, name: str) -> Database[Document]:
    """The database of that name.

    Raises:
        UsageError: no database can have that name.
    """
    try:
        return client[name]
    except InvalidName as error:
        raise UsageError(f"{name!r} cannot be the name of a database: {error}") from error


def server_info(client: Client, connection: Connection) -> ServerInfo:
    """Which server answers, asked for real.

    Raises:
        ServerError: it does not answer or refuses.
    """
    with translated(connection):
        hello = client.admin.command("hello")
        version = client.server_info()["version"]
    topology = "standalone"
    if "setName" in hello:
        topology = "replica set"
    elif hello.get("msg") == "isdbgrid":
        topology = "sharded cluster"
    return ServerInfo(connection.shown, version, topology)


def same_server(
    one: Client, connection: Connection, other: Client, other_connection: Connection
) -> bool:
    """Whether both lead to the same data: one process, or members of one replica set.

    Raises:
        ServerError: one of them does not answer or refuses.
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


def write_concern(client: Client, chosen: str | None) -> Document:
    """The write concern as chosen (a number, `majority` or a name of the server's configuration).

    Without a choice, that of the connection string, else majority.
    """
    if chosen is not None:
        return {"w": int(chosen) if chosen.isdecimal() else chosen}
    concern = client.write_concern
    return (WriteConcern("majority") if concern.is_server_default else concern).document


@contextmanager
def translated(connection: Connection) -> Iterator[None]:
    """Turn the driver's errors within into fastdump's, passwords taken out.

    Raises:
        ServerError: the server cannot be reached, or refuses.
    """
    try:
        yield
    except PyMongoError as error:
        raise ServerError(_explained(error, connection)) from None


def _explained(error: PyMongoError, connection: Connection) -> str:
    where, said = connection.shown, _scrubbed(error, connection)
    if isinstance(error, OperationFailure):
        if error.code == _AUTHENTICATION_FAILED:
            return (
                f"{where} does not accept the user name or the password: check both, "
                "and the authSource of the connection string"
            )
        if error.code == _UNAUTHORIZED:
            return f"the user has no right to do this on {where}: {said}"
        return f"{where} refused: {said}"
    if isinstance(error, ServerSelectionTimeoutError):
        return f"no server answers at {where}: check that it runs and the address is right ({said})"
    if isinstance(error, AutoReconnect):
        return f"the connection to {where} was lost: {said}; run the same command again"
    return f"{where}: {said}"


def _scrubbed(error: Exception, connection: Connection) -> str:
    # OperationFailure appends the whole reply, and selection errors the whole topology.
    text = str(error).split(", full error:")[0].split(", Timeout:")[0]
    text = re.sub(r"//[^/@\s]*@", "//", text)
    return text.replace(connection.password, "***") if connection.password else text
