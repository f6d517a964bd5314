"""What of a server is read: patterns, filters, views, users and roles, members of a set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Timestamp, json_util
from bson.max_key import MaxKey

import fastdump
from benchmarks.shapes import insert
from fastdump import LoadOptions
from fastdump.engine import planner
from fastdump.engine.sessions.plain import ReadContext, Session
from fastdump.errors import UsageError
from fastdump.model import Selection
from fastdump.mongo.client import Document, open_database
from fastdump.mongo.query import filter_of
from fastdump.progress import Silent
from tests.conftest import Run, Server


@pytest.fixture
def database(server: Server) -> str:
    name = server.new_database()
    for collection in ("Stats", "Stack", "Server"):
        insert(server.connection, name, collection, ({"_id": n, "n": n % 10} for n in range(100)))
    return name


def names(report: fastdump.BackupReport) -> list[str]:
    return [found.name for found in report.collections]


@pytest.mark.parametrize(
    ("collections", "exclude", "kept"),
    [
        ([], [], ["Server", "Stack", "Stats"]),
        (["Sta*"], [], ["Stack", "Stats"]),
        (["Stats", "Server"], [], ["Server", "Stats"]),
        ([], ["Sta*"], ["Server"]),
        (["S*"], ["Stack"], ["Server", "Stats"]),
    ],
)
def test_which_collections(
    server: Server,
    database: str,
    tmp_path: Path,
    collections: list[str],
    exclude: list[str],
    kept: list[str],
) -> None:
    report = fastdump.backup(
        server.uri,
        db=database,
        folder=tmp_path,
        collections=fastdump.CollectionFilter(include=collections, exclude=exclude),
    )
    assert names(report) == kept
    target = server.new_database()
    copied = fastdump.copy(
        server.uri,
        server.uri,
        db=database,
        target_db=target,
        collections=fastdump.CollectionFilter(include=collections, exclude=exclude),
    )
    assert [found.name for found in copied.collections] == kept


def test_what_does_not_exist_is_said(fastdump: Run, server: Server, database: str) -> None:
    source = ("--uri", server.uri, "--db", database)
    for options, said in (
        (["--collection", "Stat"], "no collection matches 'Stat': there are Server, Stack"),
        (["--exclude-collection", "*"], "select no collection"),
        (["--query", "{}"], "needs exactly one collection"),
        (
            ["--query", "{", "--collection", "Stats"],
            "invalid filter in --query: it is not valid Extended JSON",
        ),
        (["--query", "{}", "--query-file", "x"], "leave one out"),
        (["--query-file", "/absent"], "cannot be read"),
        (["--read-preference", "nowhere"], "invalid read preference nowhere: "),
        (["--read-preference", "{mode: secondary, tagSets: 5}"], "invalid read preference"),
    ):
        done = fastdump("backup", *source, "-f", "b", *options)
        assert (done.code, said in done.err) == (2, True), done.err


QUERIES: list[tuple[Document, Any]] = [
    ({"n": {"$gte": 7}}, lambda document: document["n"] >= 7),
    ({"_id": {"$type": "maxKey"}}, lambda document: document["_id"] == MaxKey()),
    ({}, lambda _document: True),
    ({"indexed": 3}, lambda document: document["indexed"] == 3),
    ({"n": "none"}, lambda _document: False),
]


@pytest.mark.parametrize(("query", "wanted"), QUERIES)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_filter(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    query: Document,
    wanted: Any,
    workers: int,
) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    name, target = server.new_database(), server.new_database()
    documents: list[Document] = [
        {"_id": n if n else MaxKey(), "n": n % 10, "indexed": n % 50, "p": "x" * 200}
        for n in range(3000)
    ]
    insert(server.connection, name, "c", documents)
    with server.client() as client:
        client[name]["c"].create_index("indexed")
    text = json_util.dumps(query)
    report = fastdump.backup(
        server.uri,
        db=name,
        folder=tmp_path,
        workers=workers,
        collections=fastdump.CollectionFilter(query=text),
    )
    assert report.workers > 0
    assert fastdump.restore(server.uri, target_db=target, folder=tmp_path).complete
    with server.client() as client:
        found = {str(document["_id"]) for document in client[target]["c"].find()}
        assert found == {str(document["_id"]) for document in documents if wanted(document)}


def test_a_wide_filter_is_cut_and_a_narrow_one_is_not(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    name = server.new_database()
    insert(
        server.connection, name, "c", ({"_id": n, "n": n % 50, "p": "x" * 200} for n in range(3000))
    )
    with server.client() as client:
        client[name]["c"].create_index("n")
    for query, is_cut in (({"p": {"$ne": 1}}, True), ({"n": 1}, False), ({"n": {"$gte": 0}}, True)):
        selection = Selection(name, query=filter_of(json.dumps(query)))
        _catalog, chunks = Session(
            ReadContext(server.client(), [server.connection], selection, 2, Silent())
        ).plan()
        assert (len(chunks) > 1) is is_cut
        assert {str(chunk.range) for chunk in chunks} == {"by _id" if is_cut else "whole"}


def test_a_filter_from_a_file(fastdump: Run, server: Server, database: str, tmp_path: Path) -> None:
    (tmp_path / "query.json").write_text('{"n": {"$numberInt": "3"}}\n')
    done = fastdump(
        "backup", "--uri", server.uri, "--db", database, "-f", tmp_path, "--collection", "Stack",
        "--query-file", tmp_path / "query.json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "10" in done.out.splitlines()[2]


def test_views_as_collections(server: Server, database: str, tmp_path: Path) -> None:
    with server.client() as client:
        open_database(client, database).command(
            {"create": "odd", "viewOn": "Stack", "pipeline": [{"$match": {"n": 3}}]}
        )
    report = fastdump.backup(
        server.uri,
        db=database,
        folder=tmp_path,
        collections=fastdump.CollectionFilter(views_as_collections=True),
    )
    assert (names(report), report.documents) == (["odd"], 10)
    target = server.new_database()
    fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    with server.client() as client:
        (listed,) = open_database(client, target).list_collections()
        assert listed["type"] == "collection"
        assert client[target]["odd"].count_documents({"n": 3}) == 10


@pytest.mark.parametrize("layout", ["mongodump", "archive", "komodo"])
def test_users_and_roles_of_one_database(server: Server, tmp_path: Path, layout: str) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    out = tmp_path / "out"
    with server.client() as client:
        found = open_database(client, database)
        found.command("createRole", "reader", privileges=[], roles=["read"])
        found.command("createUser", "ada", pwd="x", roles=["reader"])
        before = open_database(client, "admin")["system.users"].find_one({"user": "ada"})
        try:
            fastdump.backup(
                server.uri,
                db=database,
                writing=fastdump.WriteOptions(layout=layout, out=out),
                collections=fastdump.CollectionFilter(users_and_roles=True),
            )
            found.command("dropAllUsersFromDatabase")
            found.command("dropAllRolesFromDatabase")
            report = fastdump.restore(
                server.uri, target_db=database, name=out, options=LoadOptions()
            )
            assert "users and roles of the backup are left out" in report.notes[0]
            assert found.command("usersInfo")["users"] == []
            report = fastdump.restore(
                server.uri,
                target_db=database,
                name=out,
                options=LoadOptions(users_and_roles=True),
            )
            assert report.complete
            # With the password's hash, so that the user can log in.
            admin = open_database(client, "admin")
            assert admin["system.users"].find_one({"user": "ada"}) == before
            assert [role["role"] for role in found.command("rolesInfo", 1)["roles"]] == ["reader"]
            assert not {"tempusers", "temproles"} & set(admin.list_collection_names())
        finally:
            found.command("dropAllUsersFromDatabase")
            found.command("dropAllRolesFromDatabase")


def test_users_and_roles_of_all(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    with server.client() as client:
        found = open_database(client, database)
        found.command("createUser", "bob", pwd="x", roles=["read"])
        try:
            report = fastdump.backup(
                server.uri,
                writing=fastdump.WriteOptions(layout="archive", out=tmp_path / "all"),
                collections=fastdump.CollectionFilter(users_and_roles=True),
            )
            assert not [note for note in report.notes if "admin.system" in note]
            found.command("dropUser", "bob")
            fastdump.restore(
                server.uri,
                name=tmp_path / "all",
                options=LoadOptions(users_and_roles=True),
                namespaces=fastdump.NamespaceFilter(include=["admin.system.*"]),
            )
            assert [user["user"] for user in found.command("usersInfo")["users"]] == ["bob"]
        finally:
            found.command("dropAllUsersFromDatabase")


def test_a_preference_for_a_standalone_changes_nothing(
    server: Server, database: str, tmp_path: Path
) -> None:
    report = fastdump.backup(
        fastdump.Server(server.uri, read_preference="secondaryPreferred"),
        db=database,
        folder=tmp_path,
    )
    assert report.documents == 300


@pytest.mark.needs("time series")
def test_a_filter_and_a_time_series(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    with server.client() as client:
        open_database(client, database).command(
            {"create": "series", "timeseries": {"timeField": "at"}}
        )
    with pytest.raises(UsageError, match="is a timeseries"):
        fastdump.backup(
            server.uri,
            db=database,
            folder=tmp_path,
            collections=fastdump.CollectionFilter(query="{}"),
        )


def test_timestamps_are_no_reason_to_lose_a_filter() -> None:
    assert bson.decode(filter_of('{"t": {"$timestamp": {"t": 1, "i": 2}}}')) == {
        "t": Timestamp(1, 2)
    }
