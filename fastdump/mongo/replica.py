"""Which part a server plays in a replica set, and why it cannot be used there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from fastdump.errors import FastdumpError, ServerError, UsageError
from fastdump.model import Connection

if TYPE_CHECKING:
    from fastdump.mongo.client import Client

__all__ = ["asked_of_seeds", "check_primary", "check_usable"]

_ASK_SECONDS = 2
_REMOVED = 93
"""Code InvalidReplicaSetConfig: the server is no member of the set that it knows."""


def check_usable(client: Client, where: str, hello: dict[str, Any]) -> None:
    """See that a server that belongs to a replica set holds data and is a member of it.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: it was never in a set, or was removed from it.
        UsageError: it is an arbiter.
    """
    if hello.get("isreplicaset") and "setName" not in hello:
        raise ServerError(f"{where} {_outside(client)}")
    if hello.get("arbiterOnly"):
        raise UsageError(
            f"{where} is an arbiter of the replica set {hello['setName']} and holds no data: "
            f"name another member; its primary is {hello.get('primary', 'not known')}"
        )


def _outside(client: Client) -> str:
    """Return why a server that should belong to a replica set does not."""
    try:
        client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == _REMOVED:
            return (
                f"is REMOVED from its replica set: the set's configuration lists "
                f"{_configured(client)}, and none of these names is this server's; give it back "
                "its name, or have the set configured anew (rs.reconfig with force)"
            )
    return (
        "was started as a member of a replica set and is in none: run rs.initiate() once, with "
        "the name under which others reach it as host"
    )


def _configured(client: Client) -> str:
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure:
        return "others"  # without the role clusterMonitor
    return ", ".join(str(member["host"]) for member in config["members"])


def check_primary(client: Client, connection: Connection) -> None:
    """See that the server that is connected to takes writes.

    Raises:
        PyMongoError: the server does not answer, or its set has no primary at the moment.
        UsageError: it is a secondary.
    """
    hello = client.admin.command("hello")
    if "setName" not in hello or hello["isWritablePrimary"]:
        return
    if "primary" not in hello:
        raise AutoReconnect(f"the replica set {hello['setName']} has no primary")
    raise UsageError(
        f"{connection.shown} is a secondary of the replica set {hello['setName']} and takes no "
        f"writes: its primary is {hello['primary']}"
    )


def asked_of_seeds(connection: Connection) -> str | None:
    """Ask each host of a connection string by itself why none of the replica set can be used.

    Returns:
        What it says of its set; None if no host answers, or none is of a set.
    """
    from fastdump.mongo.client import connect

    for host in _seeds(connection):
        with (
            suppress(FastdumpError, PyMongoError),
            pymongo.timeout(_ASK_SECONDS),
            connect(replace(connection, member=host)) as client,
        ):
            hello = client.admin.command("hello")
            try:
                check_usable(client, host, hello)
            except FastdumpError as error:
                return str(error)
            if "setName" in hello:
                return _about_set(host, hello)
    return None


def _seeds(connection: Connection) -> Iterator[str]:
    if connection.member is not None or connection.uri.startswith("mongodb+srv:"):
        return
    for host, port in parse_uri(connection.uri, warn=True)["nodelist"]:
        yield host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _about_set(host: str, hello: dict[str, Any]) -> str:
    members = [*hello.get("hosts", ()), *hello.get("passives", ())]
    named = (
        f"the replica set {hello['setName']}, whose members call themselves {', '.join(members)}"
    )
    if "primary" not in hello:
        return (
            f"{host} belongs to {named}; it has no primary at the moment: start enough of them, or "
            "read this one alone with directConnection=true in the connection string"
        )
    return (
        f"{host} belongs to {named}; under these names this machine reaches none that can be used: "
        "make the names known to it, or add directConnection=true to the connection string, which "
        f"uses the host that it names alone (its primary is {hello['primary']})"
    )
