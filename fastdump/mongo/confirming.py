"""By how many servers a write must be confirmed, and what happens where they do not do so.

A server waits for ever for members of its replica set that are down, unless it is told for how
long. In the building of indexes it cannot be told at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from uuid import uuid4

from pymongo import WriteConcern
from pymongo.database import Database

from fastdump.errors import ServerError, UsageError
from fastdump.model import Connection
from fastdump.mongo.client import Client, Document

__all__ = ["build_watched", "check_confirmed", "write_concern"]

_FAILED = 64
"""Code WriteConcernFailed: the time was up."""

_LEAST_SECONDS = 10
_MOST_MILLISECONDS = 2**31 - 1
_LOOK_SECONDS = 5
"""How often the members are asked while indexes are built."""


def write_concern(client: Client, connection: Connection, chosen: str | None) -> Document:
    """The write concern as chosen (a number, `majority` or a name of the server's configuration).

    Without a choice, that of the connection string, else majority. Other servers are waited for as
    long as for one that goes away, if the connection string does not say for how long.

    Raises:
        UsageError: it is 0, which asks the server for no answer.
    """
    if chosen is not None:
        found: Document = {"w": int(chosen) if chosen.isdecimal() else chosen}
    else:
        concern = client.write_concern
        found = (WriteConcern("majority") if concern.is_server_default else concern).document
    if found.get("w") == 0:
        raise UsageError(
            "with the write concern 0 the server does not say what it has written, so nobody could "
            "tell whether it is all: use 1 or more, or majority (--write-concern, or w in the URI)"
        )
    if found.get("w") == 1:
        return found
    patience = int(1000 * (connection.retry_seconds or _LEAST_SECONDS))
    return {"wtimeout": min(patience, _MOST_MILLISECONDS), **found}


def check_confirmed(reply: Mapping[str, object], what: object, concern: Document) -> None:
    """See in the reply to a write that as many servers have confirmed it as were asked for.

    Raises:
        ServerError: they have not.
    """
    error = reply.get("writeConcernError")
    if not isinstance(error, Mapping):
        return
    if error.get("code") != _FAILED:
        raise ServerError(f"{what}: the server could not confirm a write: {error['errmsg']}")
    raise ServerError(
        f"{what}: not enough members of the replica set confirmed a write within "
        f"{concern.get('wtimeout', 0) / 1000:.0f} s ({error['errmsg']}): start those that are "
        "down, or have the primary alone confirm what is written, with --write-concern 1; "
        "--retry-for waits longer"
    )


def build_watched(database: Database[Document], command: Document, concern: Document) -> Document:
    """Build indexes, which members of a replica set have to agree to; return the server's reply.

    Meanwhile the members are asked from time to time whether they confirm writes. Where they do
    not, the command is killed, and the server takes back what is not finished.

    Raises:
        PyMongoError: as the driver does.
        ServerError: not enough members are there.
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
    nowhere = f"fastdump.{uuid4().hex}"  # a time series would refuse it
    update = {"q": {}, "u": {"$set": {"x": 1}}}
    return database.command({"update": nowhere, "updates": [update], "writeConcern": concern})


def _kill(client: Client, comment: str) -> None:
    """Kill one's own command, which takes no right."""
    listing = {"currentOp": 1, "$ownOps": True, "command.comment": comment}
    for operation in client.admin.command(listing)["inprog"]:
        client.admin.command({"killOp": 1, "op": operation["opid"]})
