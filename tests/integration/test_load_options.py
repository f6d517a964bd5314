"""How documents are written: options of restore, and what old or strange data needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Timestamp

import fastdump
from benchmarks.shapes import insert
from fastdump import LoadOptions
from fastdump.demo.compare import differences, state
from fastdump.errors import FastdumpError, UsageError
from fastdump.mongo import indexes, timestamps
from fastdump.mongo.client import Document, open_database
from tests.conftest import Run, Server, knows, mongod_version
from tests.proxy import Forward, WireProxy, refusal, without


def backed_up(server: Server, folder: Path, documents: list[Document], **options: Any) -> str:
    """A database with these documents, and a backup of it."""
    database = server.new_database()
    with server.client() as client:
        if options:
            open_database(client, database).command({"create": "c", **options})
    insert(server.connection, database, "c", documents)
    fastdump.backup(server.uri, db=database, folder=folder)
    return database


EMPTY = Timestamp(0, 0)


def test_timestamps_of_zero_stay(any_server: Server, tmp_path: Path) -> None:
    documents: list[Document] = [
        {"_id": 1, "t": EMPTY, "n": 1},
        {"_id": 2, "inner": {"t": EMPTY}, "n": 2},
        {"_id": EMPTY, "t": Timestamp(1, 1)},
        {"_id": 3, "t": EMPTY, "u": EMPTY, "list": [EMPTY]},
        *({"_id": n, "x": 0.0, "long": bson.Int64(0)} for n in range(10, 500)),
    ]
    database = server_database = any_server.new_database()
    insert(any_server.connection, database, "c", documents)
    with any_server.client() as client:
        found = {str(one["_id"]): one for one in client[database]["c"].find()}
    assert found["1"]["t"] == EMPTY, "the loader itself must keep them"
    assert found["3"] == documents[3]
    fastdump.backup(any_server.uri, db=server_database, folder=tmp_path)
    target = any_server.new_database()
    for expected in (494, 0):
        report = fastdump.restore(any_server.uri, target_db=target, folder=tmp_path)
        assert (report.complete, report.inserted, report.replaced) == (True, expected, 0)
    with any_server.client() as client:
        client[target]["c"].update_one({"_id": 1}, {"$set": {"t": Timestamp(9, 9)}})
    assert fastdump.restore(any_server.uri, target_db=target, folder=tmp_path).replaced == 1
    one, other = (state(any_server.connection, name) for name in (database, target))
    assert differences(one, other) == []


@pytest.mark.parametrize(("code", "known"), [(9, False), (40415, False), (16, True), (None, True)])
def test_a_server_is_asked_whether_it_can_be_told(
    any_server: Server, tmp_path: Path, code: int | None, *, known: bool
) -> None:
    """FerretDB 1.24 says that it is 7.0.42, and refuses an insert that tells it."""
    documents: list[Document] = [{"_id": n, "t": Timestamp(0, 0)} for n in range(3)]
    backed_up(any_server, tmp_path, documents)
    target = any_server.new_database()
    told: list[bool] = []

    def write(command: Document, forward: Forward) -> Document:
        told.append(timestamps.KEEP in command and bool(command.get("documents")))
        if not command.get("documents"):
            return {"n": 0, "ok": 1.0} if code is None else refusal(code, "as servers do")
        if not known and timestamps.KEEP in command:
            return refusal(40415, "unknown field")
        return forward(without(command, timestamps.KEEP))

    def build(command: Document, forward: Forward) -> Document:
        return {**forward(command), "version": "7.0.42", "versionArray": [7, 0, 42, 0]}

    with WireProxy(any_server.uri) as proxy:
        proxy.around("insert", write)
        proxy.around("buildInfo", build)
        report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    assert (report.complete, report.documents) == (True, 3)
    assert any(told) == known


def test_bypassing_a_validator(server: Server, tmp_path: Path) -> None:
    documents: list[Document] = [{"_id": n} for n in range(10)]
    database = backed_up(server, tmp_path, documents)
    with server.client() as client:
        open_database(client, database).command(
            {"collMod": "c", "validator": {"n": {"$exists": True}}, "validationLevel": "strict"}
        )
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    target = server.new_database()
    assert fastdump.restore(server.uri, target_db=target, folder=tmp_path).rejected == 10
    options = LoadOptions(bypass_validation=True)
    report = fastdump.restore(server.uri, target_db=target, folder=tmp_path, options=options)
    assert (report.complete, report.inserted) == (True, 10)


def test_stop_on_error(fastdump: Run, server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    with server.client() as client:
        client[database]["c"].insert_many({"_id": n} for n in range(10))
        open_database(client, database).command({"collMod": "c", "validator": {"n": 1}})
    assert fastdump("backup", "--uri", server.uri, "--db", database, "-f", tmp_path).code == 0
    target = ("--target-uri", server.uri, "--target-db", server.new_database())
    done = fastdump("restore", *target, "-f", tmp_path, "-y", "--stop-on-error")
    assert done.code == 1
    assert "document 0: Document failed validation; stopped" in done.err


def test_in_order(server: Server, tmp_path: Path) -> None:
    ids = [7, 3, 9, 1, 5]
    backed_up(server, tmp_path, [{"_id": n, "p": "x" * 10} for n in ids])
    target = server.new_database()
    options = LoadOptions(in_order=True)
    fastdump.restore(server.uri, target_db=target, folder=tmp_path, workers=4, options=options)
    with server.client() as client:
        found = client[target]["c"].find().hint([("$natural", 1)])
        assert [one["_id"] for one in found] == ids


def test_objcheck(server: Server, tmp_path: Path) -> None:
    good = bson.encode({"_id": 1, "s": "text"})
    bad = bson.encode({"_id": 2, "s": "text"}).replace(b"text", b"te\xff\xfe")
    (tmp_path / "db").mkdir()
    (tmp_path / "db/c.bson").write_bytes(good + bad)
    target = server.new_database()
    options = LoadOptions(check_documents=True)
    report = fastdump.restore(server.uri, target_db=target, name=tmp_path / "db", options=options)
    assert (report.inserted, report.rejected) == (1, 1)
    assert "utf-8" in report.rejections[0].reason.lower()


def test_without_options(server: Server, tmp_path: Path) -> None:
    backed_up(server, tmp_path, [{"_id": 1}], capped=True, size=4096)
    target = server.new_database()
    options = LoadOptions(collection_options=False)
    fastdump.restore(server.uri, target_db=target, folder=tmp_path, options=options)
    with server.client() as client:
        (found,) = open_database(client, target).list_collections()
        assert found["options"] == {}


@pytest.mark.parametrize("layout", ["komodo", "mongodump", "archive"])
def test_the_same_uuid(any_server: Server, tmp_path: Path, layout: str) -> None:
    database, out = any_server.new_database(), tmp_path / "out"
    insert(any_server.connection, database, "c", [{"_id": 1}])
    with any_server.client() as client:
        open_database(client, database).command({"create": "capped", "capped": True, "size": 4096})

        def uuids() -> dict[str, Any]:
            listed = open_database(client, database).list_collections()
            return {found["name"]: found["info"]["uuid"] for found in listed}

        before = uuids()
        fastdump.backup(
            any_server.uri, db=database, writing=fastdump.WriteOptions(layout=layout, out=out)
        )
        client.drop_database(database)
        options = LoadOptions(drop=True, preserve_uuid=True)
        report = fastdump.restore(any_server.uri, target_db=database, name=out, options=options)
        assert report.complete, report.failures
        assert uuids() == before


def test_a_uuid_needs_a_drop(fastdump: Run, server: Server, tmp_path: Path) -> None:
    done = fastdump("restore", "--target-uri", server.uri, "-y", "--preserve-uuid", "-f", tmp_path)
    assert (done.code, "needs --drop" in done.err) == (2, True)


def test_the_version_of_indexes(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    with server.client() as client:
        old: Document = {"key": {"x": 1}, "name": "x_1", "v": 1}
        open_database(client, database).command({"createIndexes": "c", "indexes": [old]})
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    for keep, version in ((False, 2), (True, 1)):
        target = server.new_database()
        options = LoadOptions(keep_index_version=keep)
        fastdump.restore(server.uri, target_db=target, folder=tmp_path, options=options)
        with server.client() as client:
            assert client[target]["c"].index_information()["x_1"]["v"] == version


def write_metadata(folder: Path, *described: Document) -> None:
    folder.mkdir()
    (folder / "c.bson").write_bytes(bson.encode({"_id": 1}))
    (folder / "c.metadata.json").write_text(json.dumps({"indexes": described}))


def test_indexes_of_old_servers(server: Server, tmp_path: Path) -> None:
    write_metadata(
        tmp_path / "db",
        {"v": 0, "key": {"a": True}, "name": "a", "ns": "db.c", "dropDups": True},
        {"v": 1, "key": {"b": 0, "c": ""}, "name": "bc", "unique": 1, "sparse": "yes"},
        {"v": 1, "key": {"t": 1}, "name": "ttl", "expireAfterSeconds": {"$numberDouble": "NaN"}},
        {"v": 1, "key": {"g": "geoHaystack", "h": 1}, "name": "hay", "bucketSize": 1},
    )
    target = server.new_database()
    report = fastdump.restore(server.uri, target_db=target, name=tmp_path / "db")
    never = knows("expiry of 2147483647 s")
    differing = [] if never else ["index ttl"]
    # MongoDB 5.0 has no index of this kind any more.
    gone = ["index hay"] if mongod_version() >= (5,) else []
    assert [failure.split(":")[1].strip() for failure in report.failures] == [*gone, *differing]
    assert report.indexes == 4 - len(gone) - len(differing)
    said = "\n".join(report.notes)
    for change in ("index a: its key is now", "unknown options dropDups", "index bc: unique is now",
                   "index ttl: expireAfterSeconds is now 2147483647"):  # fmt: skip
        assert change in said
    with server.client() as client:
        found = client[target]["c"].index_information()
        assert found["a"]["key"] == [("a", 1)]
        assert found["bc"]["unique"] is True
        assert found["bc"]["sparse"] is True
        # An index without it expires nothing either.
        assert found["ttl"].get("expireAfterSeconds") == (2**31 - 1 if never else None)


def test_the_order_of_a_key_matters(server: Server, tmp_path: Path) -> None:
    write_metadata(tmp_path / "db", {"v": 2, "key": {"a": 1, "b": 1}, "name": "i"})
    target = server.new_database()
    with server.client() as client:
        client[target]["c"].create_index([("b", 1), ("a", 1)], name="i")
    report = fastdump.restore(server.uri, target_db=target, name=tmp_path / "db")
    assert "index i" in report.failures[0]


def test_ordinary_indexes_are_not_changed() -> None:
    index: Document = {"v": 2, "key": {"a": -1, "b": "text", "c": 1.5}, "name": "i", "unique": True}
    assert indexes.converted(index) == (index, [])


def test_namespaces_are_chosen_and_renamed(server: Server, tmp_path: Path) -> None:
    database, other = server.new_database(), server.new_database()
    for name in ("users", "orders", "logs"):
        insert(server.connection, database, name, [{"_id": name}])
    fastdump.backup(
        server.uri,
        db=database,
        writing=fastdump.WriteOptions(layout="mongodump", out=tmp_path / "dump"),
    )
    report = fastdump.restore(
        server.uri,
        name=tmp_path / "dump",
        namespaces=fastdump.NamespaceFilter(
            include=[f"{database}.*"],
            exclude=["*.logs"],
            rename=[(f"{database}.$name$", f"{other}.old.$name$")],
        ),
    )
    assert {str(found.namespace) for found in report.collections} == {
        f"{other}.old.users", f"{other}.old.orders"
    }  # fmt: skip
    with server.client() as client:
        assert client[other]["old.users"].find_one() == {"_id": "users"}
    with pytest.raises(UsageError, match="would both become"):
        fastdump.restore(
            server.uri,
            name=tmp_path / "dump",
            namespaces=fastdump.NamespaceFilter(
                rename=[(f"{database}.users", "x.one"), (f"{database}.orders", "x.one")]
            ),
        )
    for wrong in (
        fastdump.NamespaceFilter(include=["nothing.*"]),
        fastdump.NamespaceFilter(rename=[("nothing.*", "x.*")]),
    ):
        with pytest.raises(FastdumpError, match="matches nothing"):
            fastdump.restore(server.uri, name=tmp_path / "dump", namespaces=wrong)
    noted = fastdump.restore(
        server.uri,
        name=tmp_path / "dump",
        namespaces=fastdump.NamespaceFilter(exclude=["nothing.*"]),
    )
    assert noted.notes == ("--ns-exclude nothing.* matches nothing",)


def test_the_database_of_a_dump_is_its_target(server: Server, tmp_path: Path) -> None:
    """In mongodump's layouts; Komodo's goes to `komodo`, so that no source is a target."""
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    for layout in ("mongodump", "archive"):
        out = tmp_path / layout
        fastdump.backup(
            server.uri, db=database, writing=fastdump.WriteOptions(layout=layout, out=out)
        )
        assert fastdump.restore(server.uri, name=out).databases == (database,)
    fastdump.backup(
        server.uri,
        db=database,
        folder=tmp_path / "dated",
        writing=fastdump.WriteOptions(layout="mongodump"),
    )
    assert fastdump.restore(server.uri, folder=tmp_path / "dated").databases == (database,)


def test_plain_files_are_listed_verified_and_restored(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", ({"_id": n, "p": "x" * 100} for n in range(2000)))
    report = fastdump.backup(
        server.uri,
        db=database,
        folder=tmp_path,
        writing=fastdump.WriteOptions(layout="mongodump", compression=fastdump.Compression("none")),
    )
    file = Path(report.path) / database / "c.bson"
    assert file.stat().st_size == report.raw_bytes == report.file_bytes
    assert (Path(report.path) / database / "c.metadata.json").is_file()
    assert fastdump.list_backups(tmp_path)[0].documents == 2000
    assert fastdump.verify(tmp_path).problems == ()
    assert fastdump.restore(server.uri, target_db=target, folder=tmp_path).complete
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert "its digest is not" in fastdump.verify(tmp_path).problems[0].message


def test_out_is_never_overwritten(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_text("mine")
    with pytest.raises(FastdumpError, match="is not empty"):
        fastdump.backup(
            server.uri, db=database, writing=fastdump.WriteOptions(out=tmp_path / "there")
        )
    assert (tmp_path / "there/file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    fastdump.backup(server.uri, db=database, writing=fastdump.WriteOptions(out=tmp_path / "empty"))
    assert fastdump.verify(name=tmp_path / "empty").intact
