"""Users and roles are restored on a server that asks who you are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

import fastdump
from fastdump import LoadOptions
from fastdump.embedded import Mongod
from fastdump.errors import ServerError
from tests.conftest import Server
from tests.proxy import WireProxy

USERS_TOO = LoadOptions(users_and_roles=True, drop=True)


@pytest.fixture
def locked() -> Iterator[Mongod]:
    """A server whose user `root` may do everything."""
    with Mongod(arguments=["--auth"]) as mongod:
        with MongoClient[dict[str, Any]](mongod.uri) as client:
            client.admin.command("createUser", "root", pwd="x", roles=["root"])
        with Server(login(mongod.uri, "root")).client() as client:
            client["db"]["c"].insert_one({"_id": 1})
        yield mongod


def login(uri: str, user: str, database: str = "admin") -> str:
    return f"{uri}&authSource={database}".replace("//", f"//{user}:x@")


def users(mongod: Mongod) -> set[str]:
    """Log in as root, and list the others."""
    with Server(login(mongod.uri, "root")).client() as client:
        return {one["_id"] for one in client.admin["system.users"].find()}


def backed_up(mongod: Mongod, path: Path, db: str | None = None) -> Path:
    uri = login(mongod.uri, "root")
    fastdump.backup(
        uri,
        db=db,
        writing=fastdump.WriteOptions(layout="archive", out=path),
        collections=fastdump.CollectionFilter(users_and_roles=True),
    )
    return path


def test_users_survive_conversions(locked: Mongod, tmp_path: Path) -> None:
    root = login(locked.uri, "root")
    with Server(root).client() as client:
        client["people"].command("createUser", "me", pwd="x", roles=["readWrite"])
        path = backed_up(locked, tmp_path / "all")
        client["people"].command("dropUser", "me")
    fastdump.convert(name=path, to=tmp_path / "repository",
                     writing=fastdump.WriteOptions(layout="repository"))  # fmt: skip
    dump = fastdump.WriteOptions(layout="mongodump", out=tmp_path / "dump")
    fastdump.convert(tmp_path / "repository", writing=dump)
    restored = fastdump.restore(root, name=tmp_path / "dump", options=USERS_TOO)
    assert restored.complete
    with Server(login(locked.uri, "me", "people")).client() as client:
        assert client["people"].list_collection_names() == []


@pytest.mark.parametrize("role", ["root", "restorers"])
def test_the_user_that_a_restore_runs_as_stays(locked: Mongod, tmp_path: Path, role: str) -> None:
    """It is not in the backup, nor is the role that lets it do this."""
    root = login(locked.uri, "root")
    with Server(root).client() as client:
        path = backed_up(locked, tmp_path / "all")
        own = {"authenticationRestrictions": [{"clientSource": ["127.0.0.1/32"]}]}
        inner = {"createRole": "inner", "privileges": [], "roles": ["restore"], **own}
        client.admin.command(inner)
        roles = [{"role": "inner", "db": "admin"}]
        client["people"].command("createRole", "unused", privileges=[], roles=[])
        client.admin.command("createRole", "restorers", privileges=[], roles=roles)
        roles = [{"role": role, "db": "admin"}]
        client["people"].command("createUser", "me", pwd="x", roles=roles)
        client["people"].command("createUser", "other", pwd="x", roles=[])
        before = client.admin["system.users"].find_one({"user": "me"})
        kept = list(client.admin["system.roles"].find({"role": {"$ne": "unused"}}))
    mine = login(locked.uri, "me", "people")
    for _time in range(2):
        # The role `restore` may not count what a target holds.
        fastdump.restore(
            mine,
            name=path,
            options=USERS_TOO,
            namespaces=fastdump.NamespaceFilter(include=["admin.*"]),
        )
        assert users(locked) == {"admin.root", "people.me"}
    with Server(root).client() as client:
        assert client.admin["system.users"].find_one({"user": "me"}) == before
        left = list(client.admin["system.roles"].find())
        assert left == ([] if role == "root" else kept)
        assert not {"tempusers", "temproles"} & set(client.admin.list_collection_names())


def test_a_user_of_another_database_is_no_affair_of_this(locked: Mongod, tmp_path: Path) -> None:
    with Server(login(locked.uri, "root")).client() as client:
        client["db"].command("createUser", "kept", pwd="x", roles=[])
        path = backed_up(locked, tmp_path / "one", db="db")
        client["db"].command("createUser", "later", pwd="x", roles=[])
    fastdump.restore(login(locked.uri, "root"), target_db="db", name=path, options=USERS_TOO)
    assert users(locked) == {"admin.root", "db.kept"}


def test_it_is_restored_itself_where_the_backup_has_it(locked: Mongod, tmp_path: Path) -> None:
    with Server(login(locked.uri, "root")).client() as client:
        path = backed_up(locked, tmp_path / "all")
        before = client.admin["system.users"].find_one({"user": "root"})
        client.admin.command("updateUser", "root", customData={"x": 1})
        fastdump.restore(login(locked.uri, "root"), name=path, options=USERS_TOO)
        assert client.admin["system.users"].find_one({"user": "root"}) == before


def test_nothing_is_dropped_if_it_cannot_be_kept(locked: Mongod, tmp_path: Path) -> None:
    path = backed_up(locked, tmp_path / "all")
    with Server(login(locked.uri, "root")).client() as client:
        client.admin.command("createUser", "me", pwd="x", roles=["root"])
    with WireProxy(locked.uri) as proxy:
        proxy.refuse("find", 13, "not authorized on admin")
        with pytest.raises(ServerError, match="not authorized"):
            fastdump.restore(login(proxy.uri, "me"), name=path, options=USERS_TOO)
    assert users(locked) == {"admin.root", "admin.me"}
