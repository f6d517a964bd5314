"""Servers that refuse what a backup asks beside the documents, and databases of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

import fastdump
from fastdump.embedded import Mongod
from fastdump.engine import planner
from fastdump.errors import ServerError
from fastdump.model import Selection
from fastdump.mongo.catalog import read_catalog
from tests.conftest import Server, knows
from tests.proxy import Document, Forward, WireProxy, refusal

DOCUMENTS = 2000
DOCUMENT = {"_id": 0, "x": "x" * 100}


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A replica set of which all databases are backed up."""
    with Mongod(replica_set=True) as mongod:
        server = Server(mongod.uri)
        with server.client() as client:
            client["db"]["c"].insert_many({**DOCUMENT, "_id": n} for n in range(DOCUMENTS))
            client["admin"]["notes"].insert_one({"_id": 1})
        yield server


@pytest.fixture
def proxy(own: Server) -> Iterator[WireProxy]:
    with WireProxy(own.uri) as proxy:
        yield proxy


def refuse_admin(proxy: WireProxy, *commands: str) -> None:
    """Act out the smaller clusters of MongoDB Atlas."""

    def answer(command: Document, forward: Forward) -> Document:
        if command["$db"] == "admin":
            return refusal(8000, "CMD_NOT_ALLOWED", name="AtlasError")
        return forward(command)

    for name in commands:
        proxy.around(name, answer)


def backed_up(uri: str, folder: Path, **more: Any) -> fastdump.BackupReport:
    return fastdump.backup(
        uri, **more, writing=fastdump.WriteOptions(layout="archive", out=folder / "a")
    )


def is_of_one_moment(report: fastdump.BackupReport) -> bool:
    """Return whether it is a snapshot, or none on a server that has no snapshots."""
    return report.consistency.mode == ("snapshot" if knows("snapshots") else "none")


def other_notes(report: fastdump.BackupReport) -> list[str]:
    """Return its notes but for the one that it is no snapshot."""
    return [note for note in report.notes if "not of one moment" not in note]


@pytest.mark.parametrize("commands", [("listCollections",), ("find",), ("listCollections", "find")])
def test_the_servers_own_database_is_left_out(
    proxy: WireProxy, tmp_path: Path, commands: tuple[str, ...]
) -> None:
    assert backed_up(proxy.uri, tmp_path).databases == ("admin", "db")
    refuse_admin(proxy, *commands)
    report = backed_up(proxy.uri, tmp_path)
    assert report.databases == ("db",)
    assert is_of_one_moment(report)
    assert other_notes(report) == [
        "the database admin is left out: the server says: CMD_NOT_ALLOWED (code 8000, AtlasError)",
    ]


def test_but_not_if_it_is_meant(proxy: WireProxy, tmp_path: Path) -> None:
    refuse_admin(proxy, "listCollections", "find")
    for more in ({"db": "admin"}, {"collections": fastdump.CollectionFilter(users_and_roles=True)}):
        with pytest.raises(ServerError, match="CMD_NOT_ALLOWED"):
            backed_up(proxy.uri, tmp_path, **more)
    assert not (tmp_path / "a").exists()


def test_another_database_that_is_refused(proxy: WireProxy, tmp_path: Path) -> None:
    proxy.refuse("listCollections", 13, "not authorized on db")
    with pytest.raises(ServerError, match="not authorized on db"):
        backed_up(proxy.uri, tmp_path)


def test_databases_that_are_not_listed(proxy: WireProxy, tmp_path: Path) -> None:
    proxy.refuse("listDatabases", 13, "not authorized on admin")
    with pytest.raises(ServerError, match=r"\(code 13, 13\); name one with --db"):
        backed_up(proxy.uri, tmp_path)
    assert backed_up(proxy.uri, tmp_path, db="db").documents == DOCUMENTS
    with pytest.raises(fastdump.UsageError, match=r"no database 'other' .*: name another with"):
        backed_up(proxy.uri, tmp_path, db="other")


def sizes(proxy: WireProxy) -> tuple[int, int]:
    with Server(proxy.uri).client() as client:
        (found,) = read_catalog(client, Server(proxy.uri).connection, Selection("db")).collections
    return found.documents, found.raw_bytes


def test_all_that_can_be_done_without(
    proxy: WireProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 10_000)
    for name in ("listDatabases", "collStats", "getParameter", "serverStatus", "currentOp"):
        proxy.refuse(name, 13, "not authorized")

    def aggregate(command: Document, forward: Forward) -> Document:
        return refusal(13, "not authorized") if "$collStats" in str(command) else forward(command)

    proxy.around("aggregate", aggregate)
    report = backed_up(proxy.uri, tmp_path, db="db")
    assert report.documents == DOCUMENTS
    assert is_of_one_moment(report)
    assert other_notes(report) == []
    assert sizes(proxy) == (DOCUMENTS, DOCUMENTS * len(bson.encode(DOCUMENT)))
    proxy.refuse("dataSize", 13, "not authorized")
    assert backed_up(proxy.uri, tmp_path / "again", db="db").documents == DOCUMENTS
    assert sizes(proxy) == (DOCUMENTS, 0)
