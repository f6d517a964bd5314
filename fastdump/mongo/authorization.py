"""Users and roles: restored into two collections for the time being, from which a server merges.

Source: MongoDB Database Tools of August 2026, mongorestore/metadata.go; the command is the server's
own, made for mongorestore, because nobody may write into `admin.system.users` directly.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastdump.errors import ServerError
from fastdump.model import Namespace
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.confirming import check_confirmed
from fastdump.mongo.schema import drop
from fastdump.mongo.writes import DUPLICATE_KEY

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


def clear(client: Client, concern: Document) -> None:
    """Drop what waits, also what an earlier run left behind.

    Raises:
        PyMongoError: the server refuses.
        ServerError: it could not have that confirmed.
    """
    for name in TEMPORARY.values():
        drop(client, Namespace("admin", name), concern)


def merge(client: Client, found: Authorization, *, replace: bool, concern: Document) -> None:
    """Have the server take over what waits.

    Args:
        client: the server.
        found: what waits.
        replace: whether users and roles that are not among it go, but for the user that does this.
        concern: the write concern.

    Raises:
        PyMongoError: the server refuses.
        ServerError: the user that does this cannot be kept.
    """
    if replace:
        _add_oneself(client, found, concern)
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
    reply = open_database(client, "admin").command(command)
    check_confirmed(reply, "the users and roles", concern)


def _add_oneself(client: Client, found: Authorization, concern: Document) -> None:
    """Add the user that this runs as, and its roles, to what waits, unless they are there.

    Otherwise the server would drop them, and nobody might be left who can log in.
    """
    info = open_database(client, "admin").command("connectionStatus")["authInfo"]
    if found.users:
        _add(client, "system.users", _users(client, _of(found, info, "User")), concern)
    if found.roles:
        _add(client, "system.roles", _roles(client, _of(found, info, "UserRole")), concern)


def _of(found: Authorization, info: Document, kind: str) -> list[Document]:
    """Return which of one's own users or roles are in the databases that are restored."""
    listed = info[f"authenticated{kind}s"]
    return [one for one in listed if found.database in ("admin", one["db"])]


def _users(client: Client, names: list[Document]) -> list[Document]:
    wanted = [f"{one['db']}.{one['user']}" for one in names]
    return list(open_database(client, "admin")["system.users"].find({"_id": {"$in": wanted}}))


def _roles(client: Client, names: list[Document]) -> list[Document]:
    """Describe roles as the server keeps them: the role `restore` may not read them there."""
    asked = {"rolesInfo": names, "showPrivileges": True, "showAuthenticationRestrictions": True}
    listed = open_database(client, "admin").command(asked)["roles"]
    return [
        {"_id": f"{one['db']}.{one['role']}"}
        | {name: one[name] for name in ("role", "db", "privileges", "roles")}
        # It lists the role's own restrictions first, then those of the roles within.
        | {name: one[name][0] for name in ("authenticationRestrictions",) if one.get(name)}
        for one in listed
        if not one["isBuiltin"]
    ]


def _add(client: Client, kind: str, documents: list[Document], concern: Document) -> None:
    if not documents:
        return
    command = {"insert": TEMPORARY[kind], "documents": documents, "ordered": False}
    reply = open_database(client, "admin").command({**command, "writeConcern": concern})
    others = [one for one in reply.get("writeErrors", ()) if one["code"] != DUPLICATE_KEY]
    if others:
        raise ServerError(f"{documents[0]['_id']} cannot be kept: {others[0]['errmsg']}")
    check_confirmed(reply, "the users and roles", concern)
