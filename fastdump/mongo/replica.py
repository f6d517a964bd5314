"""Find out the role of a server in a replica set, and explain why it cannot be used."""

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
"""Error code InvalidReplicaSetConfig: the server is not a member of the set that it knows."""


def check_usable(client: Client, where: str, hello: dict[str, Any]) -> None:
    """Check that a server of a replica set is a member of it and holds data.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: the server was not yet added to a replica set, or was removed from it.
        UsageError: the server is an arbiter.
    """
    if hello.get("isreplicaset") and "setName" not in hello:
        raise ServerError(f"{where} {_outside(client)}")
    if hello.get("arbiterOnly"):
        raise UsageError(
            f"{where} is an arbiter of the replica set {hello['setName']} and holds no data: "
            f"connect to another member; the primary is {hello.get('primary', 'not known')}"
        )


def _outside(client: Client) -> str:
    """Return the reason why a server that should be in a replica set is not."""
    try:
        client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == _REMOVED:
            return (
                f"is REMOVED from its replica set: the set's configuration lists "
                f"{_configured(client)}, and none of these names is this server's; restore its "
                "old name, or configure the set again (rs.reconfig with force)"
            )
    return (
        "was started as a member of a replica set, but is in none: run rs.initiate() once, with "
        "the name under which others reach the server as host"
    )


def _configured(client: Client) -> str:
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure:
        return "other members"  # the user lacks the role clusterMonitor
    return ", ".join(str(member["host"]) for member in config["members"])


def check_primary(client: Client, connection: Connection) -> None:
    """Check that the connected server accepts writes.

    Raises:
        PyMongoError: the server does not answer, or its set has no primary at the moment.
        UsageError: the server is a secondary.
    """
    hello = client.admin.command("hello")
    if "setName" not in hello or hello["isWritablePrimary"]:
        return
    if "primary" not in hello:
        raise AutoReconnect(f"the replica set {hello['setName']} has no primary")
    raise UsageError(
        f"{connection.shown} is a secondary of the replica set {hello['setName']} and accepts no "
        f"writes; the primary is {hello['primary']}: connect to it"
    )


def asked_of_seeds(connection: Connection) -> str | None:
    """Ask each host of a connection string directly why no member of its replica set can be used.

    Returns:
        An explanation for the user; None if no host answers or belongs to a set.
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
    named = f"the replica set {hello['setName']}, whose members are named {', '.join(members)}"
    if "primary" not in hello:
        return (
            f"{host} belongs to {named}; the set has no primary at the moment: start enough of "
            "its members, or read this one alone with directConnection=true in the connection "
            "string"
        )
    return (
        f"{host} belongs to {named}; this machine reaches no usable member under these names: make "
        "the names known to this machine, or add directConnection=true to the connection string, "
        f"which then uses only the host that it names (the primary is {hello['primary']})"
    )
