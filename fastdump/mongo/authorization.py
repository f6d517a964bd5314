"""Users and roles: restored into two collections for the time being, from which a server merges.

Source: MongoDB Database Tools of August 2026, mongorestore/metadata.go; the command is the server's
own, made for mongorestore, because nobody may write into `admin.system.users` directly.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdump.model import Namespace
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.schema import drop

__all__ = ["TEMPORARY", "Authorization", "clear", "merge"]

TEMPORARY = {"system.users": "tempusers", "system.roles": "temproles"}
"""Where they wait; the names are mongorestore's, which the role `restore` may write."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """Which users and roles are merged."""

    database: str
    """Those of this one; `admin` stands for all."""
    users: bool
    roles: bool


def clear(client: Client) -> None:
    """Drop what waits, also what an earlier run left behind."""
    for name in TEMPORARY.values():
        drop(client, Namespace("admin", name))


def merge(client: Client, found: Authorization, *, replace: bool, concern: Document) -> None:
    """Have the server take over what waits.

    Args:
        client: the server.
        found: what waits.
        replace: whether users and roles that are not among it go.
        concern: the write concern.

    Raises:
        PyMongoError: the server refuses.
    """
    command: Document = {"_mergeAuthzCollections": 1}
    if found.users:
        command["tempUsersCollection"] = f"admin.{TEMPORARY['system.users']}"
    if found.roles:
        command["tempRolesCollection"] = f"admin.{TEMPORARY['system.roles']}"
    command |= {
        "drop": replace,
        "db": "" if found.database == "admin" else found.database,
        "writeConcern": concern,
    }
    open_database(client, "admin").command(command)
