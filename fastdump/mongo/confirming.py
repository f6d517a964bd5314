"""Write concerns: choose one, check the server's confirmation, and watch the building of indexes.

A server waits for ever for members of its replica set that are down, unless the write concern has a
time limit. For the building of indexes there is no such limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from uuid import uuid4

from pymongo import WriteConcern
from pymongo.database import Database
from pymongo.errors import AutoReconnect

from fastdump.errors import ServerError, UsageError
from fastdump.model import Connection
from fastdump.mongo.client import Client, Document
from fastdump.mongo.retry import WILL_PASS

__all__ = ["build_watched", "check_confirmed", "write_concern"]

_FAILED = 64
"""Error code WriteConcernFailed: the members did not confirm in time."""

_WIRE_VERSION_5_0 = 13
"""`maxWireVersion` of MongoDB 5.0. Source: the server's wire_version.h."""

_LEAST_SECONDS = 10
_MOST_MILLISECONDS = 2**31 - 1
_LOOK_SECONDS = 5
"""Interval between checks of the members while indexes are built, in seconds."""


def write_concern(client: Client, connection: Connection, chosen: str | None) -> Document:
    """Return the write concern to use.

    Unless the connection string has a `wtimeout`, members are waited for as long as a lost
    connection is retried.

    Args:
        client: the server.
        connection: its time of retrying.
        chosen: a number, `majority`, or a name of the server's configuration; None takes the
            connection string's, or else `majority`.

    Raises:
        UsageError: the write concern is 0, which asks the server for no answer.
    """
    if chosen is not None:
        found: Document = {"w": int(chosen) if chosen.isdecimal() else chosen}
    else:
        concern = client.write_concern
        found = (WriteConcern("majority") if concern.is_server_default else concern).document
    if found.get("w") == 0:
        raise UsageError(
            "write concern 0 is not possible, because the server would not report what it has "
            "written: use 1 or more, or majority (--write-concern, or w in the URI)"
        )
    if found.get("w") == 1:
        return found
    if found.get("w") == "majority" and _forgets_majorities(client):
        found = {"j": True, **found}
    patience = int(1000 * (connection.retry_seconds or _LEAST_SECONDS))
    return {"wtimeout": min(patience, _MOST_MILLISECONDS), **found}


def _forgets_majorities(client: Client) -> bool:
    """Return True for MongoDB 4.4, which may forget a write that a majority has confirmed.

    If it is no member of a replica set, its majority is itself, and it does not wait for its own
    journal: killed within 0.1 s, it forgets documents and collections (seen on 4.4.2; 5.0.4 waits).
    """
    servers = client.topology_description.server_descriptions().values()
    return any(0 < one.max_wire_version < _WIRE_VERSION_5_0 for one in servers)


def check_confirmed(reply: Mapping[str, object], what: object, concern: Document) -> None:
    """Check in the reply to a write that enough members have confirmed it.

    Raises:
        AutoReconnect: the confirmation was interrupted, for example since the primary stepped down,
            so that the same write may succeed later.
        ServerError: too few members confirmed.
    """
    error = reply.get("writeConcernError")
    if not isinstance(error, Mapping):
        return
    if error.get("code") in WILL_PASS:
        raise AutoReconnect(error["errmsg"])
    if error.get("code") != _FAILED:
        raise ServerError(f"{what}: the server could not confirm a write: {error['errmsg']}")
    raise ServerError(
        f"{what}: not enough members of the replica set confirmed a write within "
        f"{concern.get('wtimeout', 0) / 1000:.0f} s ({error['errmsg']}): start the members that "
        "are down, or use --write-concern 1, with which the primary alone confirms, or wait longer "
        "with --retry-for"
    )


def build_watched(database: Database[Document], command: Document, concern: Document) -> Document:
    """Build indexes in a replica set, and return the server's reply.

    The members must agree to each index. So they are asked at intervals if they still confirm
    writes. If they do not, the command is killed, and the server removes the unfinished indexes.

    Raises:
        PyMongoError: as the driver does.
        ServerError: too few members are running.
    """
    mark = uuid4().hex
    with ThreadPoolExecutor(1, "fastdump-build") as thread:
        building = thread.submit(database.command, {**command, "comment": mark})
        while not wait([building], _LOOK_SECONDS).done:
            try:
                check_confirmed(_changes_nothing(database, concern), database.name, concern)
            except ServerError:
                _kill(database.client, mark)
                raise
        return building.result()


def _changes_nothing(database: Database[Document], concern: Document) -> Document:
    """Send an update that finds no document: the server waits as for one that changes something."""
    nowhere = f"fastdump.{uuid4().hex}"  # does not exist: a time series would refuse the update
    update = {"q": {}, "u": {"$set": {"x": 1}}}
    return database.command({"update": nowhere, "updates": [update], "writeConcern": concern})


def _kill(client: Client, comment: str) -> None:
    """Kill our own command, which needs no privilege."""
    listing = {"currentOp": 1, "$ownOps": True, "command.comment": comment}
    for operation in client.admin.command(listing)["inprog"]:
        client.admin.command({"killOp": 1, "op": operation["opid"]})
