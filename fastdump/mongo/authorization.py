"""Restore users and roles: write them into two temporary collections, which the server then merges.

Nobody may write into `admin.system.users` directly, so the server has a command for mongorestore.
Source: MongoDB Database Tools of August 2026, mongorestore/metadata.go.
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
"""Temporary collections by the ones they are merged into; the role `restore` may write to these."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """Choice of the users and roles to merge."""

    database: str
    """Database whose users and roles are merged; `admin` stands for all databases."""
    users: bool
    roles: bool


def clear(client: Client, concern: Document) -> None:
    """Drop the temporary collections, including those that an earlier run left behind.

    Raises:
        PyMongoError: the server refuses.
        ServerError: too few members confirmed the write.
    """
    for name in TEMPORARY.values():
        drop(client, Namespace("admin", name), concern)


def merge(client: Client, found: Authorization, *, replace: bool, concern: Document) -> None:
    """Let the server merge the temporary collections into its users and roles.

    Args:
        client: the server.
        found: the users and roles in the temporary collections.
        replace: remove users and roles that are not among them, except the connected user.
        concern: the write concern.

    Raises:
        PyMongoError: the server refuses.
        ServerError: the connected user cannot be preserved, or too few members confirmed.
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
    """Add the connected user and its roles to the temporary collections, unless they are there.

    Otherwise the server would drop them, and perhaps nobody could log in any more.
    """
    info = open_database(client, "admin").command("connectionStatus")["authInfo"]
    if found.users:
        _add(client, "system.users", _users(client, _of(found, info, "User")), concern)
    if found.roles:
        _add(client, "system.roles", _roles(client, _of(found, info, "UserRole")), concern)


def _of(found: Authorization, info: Document, kind: str) -> list[Document]:
    """Return those users or roles of the connection that are in the restored databases."""
    listed = info[f"authenticated{kind}s"]
    return [one for one in listed if found.database in ("admin", one["db"])]


def _users(client: Client, names: list[Document]) -> list[Document]:
    wanted = [f"{one['db']}.{one['user']}" for one in names]
    return list(open_database(client, "admin")["system.users"].find({"_id": {"$in": wanted}}))


def _roles(client: Client, names: list[Document]) -> list[Document]:
    """Return roles as the server stores them, which the role `restore` cannot read directly."""
    asked = {"rolesInfo": names, "showPrivileges": True, "showAuthenticationRestrictions": True}
    listed = open_database(client, "admin").command(asked)["roles"]
    return [
        {"_id": f"{one['db']}.{one['role']}"}
        | {name: one[name] for name in ("role", "db", "privileges", "roles")}
        # The server lists the role's own restrictions first, then those of inherited roles.
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
        raise ServerError(
            f"the connected user's {documents[0]['_id']} cannot be preserved: {others[0]['errmsg']}"
        )
    check_confirmed(reply, "the users and roles", concern)
