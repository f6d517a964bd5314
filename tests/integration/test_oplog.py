"""What happens while a backup is made is in its oplog, and replayed it is as it was at the end."""

from __future__ import annotations

import datetime
import gzip
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

import fastdump as package
from benchmarks.shapes import insert
from fastdump import LoadOptions, ReadOptions
from fastdump.demo.compare import CollectionState, differences, state
from fastdump.embedded import Mongod
from fastdump.engine.backup.worker import BackupWorker
from fastdump.engine.copy.worker import CopyWorker
from fastdump.engine.sessions import plain as reading_module
from fastdump.errors import ServerError, UsageError
from fastdump.model import ClusterTime
from fastdump.mongo import catalog
from fastdump.mongo import oplog as oplog_module
from tests.conftest import COMMAND_SECONDS, Run, Server, environment, knows

Work = Callable[[Database[dict[str, Any]]], object]

OPLOG = ReadOptions(consistency="oplog")
REPLAY = LoadOptions(oplog_replay=True)


@pytest.fixture
def database(replica_set: Server) -> Iterator[str]:
    name = replica_set.new_database()
    insert(replica_set.connection, name, "a", ({"_id": n, "x": n} for n in range(100)))
    insert(replica_set.connection, name, "z", ({"_id": n, "x": n} for n in range(100)))
    yield name
    with replica_set.client() as client:
        client.drop_database(name)


def during(monkeypatch: pytest.MonkeyPatch, server: Server, name: str, work: Work) -> None:
    """Have something happen when the first collection was read."""
    left = [work]

    def once(*_worker: object) -> None:
        if left:
            with server.client() as client:
                left.pop()(client[name])

    monkeypatch.setattr(BackupWorker, "_wait", once)


def before_the_catalog(
    monkeypatch: pytest.MonkeyPatch, server: Server, name: str, work: Work
) -> None:
    """Have something happen between the first entry of the oplog and the look at what there is."""
    original = catalog.read_catalog

    def changed(*arguments: Any) -> Any:
        with server.client() as client:
            work(client[name])
        return original(*arguments)

    monkeypatch.setattr(reading_module, "read_catalog", changed)


def equal(server: Server, name: str, target: Server, other: str) -> None:
    assert differences(plain(server, name), plain(target, other)) == []


def plain(server: Server, name: str) -> dict[str, CollectionState]:
    return state(server.connection, name)


def documents(found: Database[dict[str, Any]]) -> None:
    """Of every kind of change, several of them to the same documents."""
    found["a"].delete_many({"_id": {"$lt": 10}})
    found["a"].update_many({"_id": {"$lt": 20}}, {"$set": {"deep.er": [1, 2, 3]}})
    found["a"].update_many({"_id": {"$lt": 20}}, {"$push": {"deep.er": 4}, "$inc": {"x": 1}})
    found["a"].update_one({"_id": 12}, {"$unset": {"x": 1}, "$set": {"deep.er.1": "two"}})
    found["a"].replace_one({"_id": 13}, {"new": True})
    found["a"].insert_many({"_id": f"new{n}"} for n in range(10))
    found["a"].delete_one({"_id": "new3"})
    found["a"].insert_one({"_id": 5, "again": True})
    found["z"].bulk_write([UpdateOne({"_id": n}, {"$inc": {"x": 1}}) for n in range(0, 100, 3)])
    found["z"].update_one({"_id": 2}, {"$push": {"stack": {"$each": [3, 1], "$slice": -1}}})
    found["z"].delete_one({"_id": 99})


def definitions(found: Database[dict[str, Any]]) -> None:
    """Collections, indexes, views and options."""
    found["made"].insert_one({"_id": 1})
    found["made"].create_index("x", unique=True, name="ux")
    found.create_collection("strict", validator={"x": {"$type": "int"}}, collation={"locale": "de"})
    found["strict"].insert_one({"x": 5})
    if knows("clustered collections"):
        found.create_collection("clustered", clusteredIndex={"key": {"_id": 1}, "unique": True})
        found["clustered"].insert_one({"_id": 1})
    found["z"].create_index("x")
    found["z"].create_index("y", expireAfterSeconds=50)
    found["z"].drop_index("x_1")
    found.command({"collMod": "z", "index": {"name": "y_1", "expireAfterSeconds": 70}})
    found.command({"collMod": "z", "validator": {"x": {"$exists": True}}})
    found["passing"].insert_one({})
    found["passing"].drop()
    found.command({"create": "view", "viewOn": "a", "pipeline": [{"$match": {"x": 1}}]})
    found.command({"create": "gone", "viewOn": "a", "pipeline": []})
    found["gone"].drop()
    if knows("time series"):
        found.create_collection("series", timeseries={"timeField": "t", "metaField": "m"})
        for n in range(5):
            found["series"].insert_one({"t": datetime.datetime(2026, 1, 1), "m": n % 2, "v": n})


def made_anew(found: Database[dict[str, Any]]) -> None:
    found["a"].create_index("x")
    found["a"].drop()
    found["a"].insert_one({"_id": "another"})
    found["a"].create_index("y")
    found["z"].drop()


def repeated(transaction: Callable[[], object]) -> None:
    """Run a transaction until it is committed.

    MongoDB 4.4.2 refuses the commit of one that takes several entries up to a hundred times, with
    WriteConflict; the driver gives up after two minutes.
    """
    end = time.monotonic() + 400
    while True:
        try:
            transaction()
        except OperationFailure:
            if time.monotonic() > end:
                raise
        else:
            return


def in_transactions(found: Database[dict[str, Any]]) -> None:
    """Also one that takes several entries, and one that is given up."""
    with found.client.start_session() as session:

        def in_several_entries(session: ClientSession) -> None:
            found["a"].insert_many(
                ({"_id": f"large{n}", "x": "x" * 1_000_000} for n in range(20)), session=session
            )
            found["new"].insert_one({"_id": 1}, session=session)
            found["z"].update_many({}, {"$inc": {"x": 5}}, session=session)

        repeated(lambda: session.with_transaction(in_several_entries))
        session.start_transaction()
        found["a"].delete_many({}, session=session)
        session.abort_transaction()
        with session.start_transaction():
            found["z"].delete_one({"_id": 5}, session=session)


@pytest.mark.timeout(600)  # for `repeated`
@pytest.mark.parametrize("early", [False, True], ids=["while it reads", "before it looks"])
@pytest.mark.parametrize("work", [documents, definitions, made_anew, in_transactions])
@pytest.mark.parametrize("layout", ["komodo", "mongodump", "archive"])
def test_as_it_was_at_the_end(
    replica_set: Server,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    work: Work,
    *,
    early: bool,
) -> None:
    happen = before_the_catalog if early else during
    happen(monkeypatch, replica_set, database, work)
    out = tmp_path / "out"
    backup = package.backup(
        replica_set.uri,
        db=database,
        reading=OPLOG,
        writing=package.WriteOptions(out=out, layout=layout),
    )
    # What comes later is not in it.
    expected = plain(replica_set, database)
    target = server.new_database()
    for _again in range(2):
        if layout == "archive" and work is definitions and _again:
            break  # the time series is there already
        report = package.restore(
            server.uri, target_db=target, name=out, options=replace(REPLAY, drop=True)
        )
        assert report.complete, report.failures
        assert report.operations
        assert report.consistency is not None
        assert report.consistency.mode == "oplog"
        # An archive does not say; its last operation does.
        assert layout == "archive" or report.consistency == backup.consistency
        assert differences(expected, plain(server, target)) == []
    assert package.verify(tmp_path, name=out).intact


def test_a_unique_index_that_was_broken_on_the_way(
    replica_set: Server,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name moves from a document that was read to one that is read later."""
    with replica_set.client() as client:
        client[database]["z"].create_index("name", unique=True, sparse=True)
        client[database]["z"].update_one({"_id": 1}, {"$set": {"name": "taken"}})

    def work(found: Database[dict[str, Any]]) -> None:
        for one in range(1, 98):
            found["z"].update_one({"_id": one}, {"$unset": {"name": 1}})
            found["z"].update_one({"_id": one + 1}, {"$set": {"name": "taken"}})

    monkeypatch.setattr("fastdump.mongo.cursor.BATCH_BYTES", 100)
    during(monkeypatch, replica_set, database, work)
    package.backup(replica_set.uri, db=database, folder=tmp_path, reading=OPLOG)
    target = server.new_database()
    report = package.restore(server.uri, target_db=target, folder=tmp_path, options=REPLAY)
    assert report.complete, report.failures
    equal(replica_set, database, server, target)


def test_a_rename_is_the_end(
    replica_set: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during(monkeypatch, replica_set, database, lambda found: found["z"].rename("y"))
    with pytest.raises(ServerError, match=f"renameCollection of {database}.z to {database}.y"):
        package.backup(replica_set.uri, db=database, folder=tmp_path, reading=OPLOG)
    assert package.list_backups(tmp_path) == []


def test_of_others_nothing_is_kept(
    replica_set: Server,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither of other databases nor of collections that are not wanted."""

    def work(found: Database[dict[str, Any]]) -> None:
        other = found.client[f"{found.name}_other"]
        other["c"].insert_one({"_id": 1})
        other["c"].rename("d")
        found["unwanted"].insert_one({"_id": 1})
        found["unwanted"].rename("unwanted_too")
        with found.client.start_session() as session, session.start_transaction():
            found["a"].update_one({"_id": 1}, {"$set": {"x": "changed"}}, session=session)
            other["d"].insert_one({"_id": 2}, session=session)
        found.client.drop_database(other.name)

    during(monkeypatch, replica_set, database, work)
    report = package.backup(
        replica_set.uri,
        db=database,
        folder=tmp_path,
        reading=OPLOG,
        collections=package.CollectionFilter(exclude=["unwanted*"]),
    )
    assert report.oplog is not None
    assert report.oplog.documents
    raw = gzip.decompress(next(tmp_path.glob("*/oplog.bson")).read_bytes())
    assert b"changed" in raw
    for other in (b"unwanted", f"{database}_other".encode()):
        assert other not in raw
    target = server.new_database()
    assert package.restore(server.uri, target_db=target, folder=tmp_path, options=REPLAY).complete
    with server.client() as client:
        assert sorted(client[target].list_collection_names()) == ["a", "z"]
        assert client[target]["a"].find_one({"_id": 1}) == {"_id": 1, "x": "changed"}
        assert f"{database}_other" not in client.list_database_names()


def test_what_is_restored_is_replayed(
    replica_set: Server,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only some collections, and by other names."""

    def work(found: Database[dict[str, Any]]) -> None:
        documents(found)
        found["made"].insert_one({"_id": 1})

    during(monkeypatch, replica_set, database, work)
    package.backup(
        replica_set.uri,
        db=database,
        reading=OPLOG,
        writing=package.WriteOptions(out=tmp_path / "out", layout="mongodump"),
    )
    target = server.new_database()
    report = package.restore(
        server.uri,
        name=tmp_path / "out",
        options=REPLAY,
        namespaces=package.NamespaceFilter(
            include=[f"{database}.*"],
            exclude=["*.a"],
            rename=[(f"{database}.*", f"{target}.new_*")],
        ),
    )
    assert report.complete
    found, expected = plain(server, target), plain(replica_set, database)
    assert sorted(found) == ["new_made", "new_z"]
    assert found["new_z"].digest == expected["z"].digest
    assert found["new_made"].digest == expected["made"].digest


def test_up_to_a_limit(
    replica_set: Server,
    server: Server,
    database: str,
    fastdump: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = []

    def work(found: Database[dict[str, Any]]) -> None:
        for n in range(3):
            found["a"].insert_one({"_id": f"new{n}"})
            time = found.client.admin.command("ping")["operationTime"]
            times.append(ClusterTime(time.time, time.inc))

    during(monkeypatch, replica_set, database, work)
    package.backup(replica_set.uri, db=database, folder=tmp_path, reading=OPLOG)
    target = server.new_database()
    arguments = ("restore", "--target-uri", server.uri, "--target-db", target, "-f", tmp_path, "-y",
                 "--oplog-limit", times[1])  # fmt: skip
    assert fastdump(*arguments).code == 2
    done = fastdump(*arguments, "--oplog-replay")
    assert done.code == 0, done.err
    with server.client() as client:
        new = [one["_id"] for one in client[target]["a"].find({"_id": {"$type": "string"}})]
    assert new == ["new0"]
    assert "of different moments" in done.out


def test_it_is_said(
    replica_set: Server, server: Server, database: str, fastdump: Run, tmp_path: Path
) -> None:
    uri = ("--uri", replica_set.uri, "--db", database, "-f", tmp_path)
    done = fastdump("backup", *uri, "--consistency", "oplog")
    assert done.code == 0, done.err
    assert "consistency oplog: all documents are of" in done.out
    assert "oplog, " in fastdump("list", "-f", tmp_path).out
    target = ("--target-uri", server.uri, "--target-db", server.new_database(), "-f", tmp_path)
    plainly = fastdump("restore", *target, "-y")
    assert "without --oplog-replay its documents are of different moments" in plainly.err
    assert "consistency none" in plainly.out
    replayed = fastdump("restore", *target, "-y", "--oplog-replay")
    (told,) = (line for line in done.out.splitlines() if line.startswith("consistency oplog"))
    assert told in replayed.out  # also where nothing happened meanwhile
    assert fastdump("backup", *uri, "--consistency", "none").code == 0
    refused = fastdump("restore", *target, "-y", "--oplog-replay")
    assert refused.code == 2
    assert "holds no oplog" in refused.err


def test_not_everything_can_have_one(
    replica_set: Server, server: Server, database: str, tmp_path: Path
) -> None:
    alone = server.new_database()
    insert(server.connection, alone, "c", [{"_id": 1}])
    with pytest.raises(ServerError, match="has no oplog"):
        package.backup(server.uri, db=alone, folder=tmp_path, reading=OPLOG)
    with pytest.raises(UsageError, match="cannot be combined with --query"):
        package.backup(
            replica_set.uri,
            db=database,
            folder=tmp_path,
            reading=OPLOG,
            collections=package.CollectionFilter(include=["a"], query='{"x": 1}'),
        )
    with pytest.raises(UsageError, match="cannot read an oplog"):
        package.backup(
            replica_set.uri,
            db=database,
            folder=tmp_path,
            reading=OPLOG,
            writing=package.WriteOptions(layout="komodo-json"),
        )
    assert list(tmp_path.glob("*")) == []


def test_a_copy(
    replica_set: Server, server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CopyWorker.load
    left: list[Work] = [documents, definitions]

    def load(*arguments: Any) -> Any:
        loaded = original(*arguments)
        while left:
            with replica_set.client() as client:
                left.pop()(client[database])
        return loaded

    monkeypatch.setattr(CopyWorker, "load", load)
    target = server.new_database()
    report = package.copy(replica_set.uri, server.uri, db=database, target_db=target, reading=OPLOG)
    assert report.complete
    assert (report.consistency.mode, report.operations > 0) == ("oplog", True)
    equal(replica_set, database, server, target)


def test_the_latest_copy_of_another_backup_is_left_alone(
    replica_set: Server,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older backup is restored with the newest `Stats`, of which its oplog knows nothing."""
    with replica_set.client() as client:
        client[database]["Stats"].insert_one({"_id": 1, "n": 1})
    during(
        monkeypatch,
        replica_set,
        database,
        lambda found: found["Stats"].update_one({}, {"$set": {"n": 2}}),
    )
    first = package.backup(replica_set.uri, db=database, folder=tmp_path, reading=OPLOG)
    with replica_set.client() as client:
        client[database]["Stats"].update_one({}, {"$set": {"n": 3}})
    second = package.backup(replica_set.uri, db=database, folder=tmp_path, reading=OPLOG)
    for backup, exceptions in ((first, (f"{database}.Stats",)), (second, ())):
        target = server.new_database()
        report = package.restore(
            server.uri, target_db=target, folder=tmp_path, name=backup.name, options=REPLAY
        )
        assert report.consistency is not None
        assert report.consistency.exceptions == exceptions
        with server.client() as client:
            assert client[target]["Stats"].find_one() == {"_id": 1, "n": 3}


@pytest.fixture(scope="module")
def short() -> Iterator[Server]:
    """A server whose oplog is of a megabyte, and cut every second."""
    arguments = ["--oplogSize", "1", "--syncdelay", "1"]
    with Mongod(replica_set=True, arguments=arguments) as mongod:
        found = Server(mongod.uri)
        insert(found.connection, "db", "a", ({"_id": n} for n in range(100)))
        insert(found.connection, "db", "z", ({"_id": n} for n in range(100)))
        yield found


def overflow(server: Server) -> None:
    """Write until the oplog does not reach back to now."""
    with server.client() as client:
        oplog = client["local"]["oplog.rs"]
        now = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
        deadline = time.monotonic() + COMMAND_SECONDS
        while oplog.find_one(sort=[("$natural", 1)])["ts"] <= now:  # type: ignore[index]
            client["elsewhere"]["c"].insert_one({"x": "x" * 1_000_000})
            assert time.monotonic() < deadline


def test_an_oplog_that_was_too_short(
    short: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_catalog(monkeypatch, short, "db", lambda _found: overflow(short))
    with pytest.raises(ServerError, match="the oplog is full"):
        package.backup(short.uri, db="db", folder=tmp_path, reading=OPLOG)
    assert package.list_backups(tmp_path) == []


def test_an_oplog_that_becomes_too_short(
    short: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed while the backup runs, not at its end."""
    original = oplog_module.kept
    held_up = [True]

    def kept(*arguments: Any) -> Any:
        if held_up:
            held_up.pop()
            overflow(short)
        return original(*arguments)

    monkeypatch.setattr(oplog_module, "kept", kept)
    reads: list[float] = []

    def slowly(*_worker: object) -> None:
        reads.append(time.monotonic())
        time.sleep(0.2)

    monkeypatch.setattr(BackupWorker, "_wait", slowly)
    monkeypatch.setattr("fastdump.mongo.cursor.BATCH_BYTES", 20)
    with pytest.raises(ServerError, match="the oplog is full"):
        package.backup(short.uri, db="db", folder=tmp_path, reading=OPLOG)
    assert len(reads) < 190
    assert package.list_backups(tmp_path) == []


@pytest.mark.skipif(shutil.which("mongorestore") is None, reason="mongorestore is not on PATH")
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("layout", ["mongodump", "archive"])
def test_mongorestore_replays_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, *, compressed: bool
) -> None:
    with Mongod(replica_set=True) as mongod, Mongod() as other:
        source, target = Server(mongod.uri), Server(other.uri)
        for name in ("a", "z"):
            insert(source.connection, "db", name, ({"_id": n, "x": n} for n in range(100)))

        def work(found: Database[dict[str, Any]]) -> None:
            documents(found)
            in_transactions(found)

        during(monkeypatch, source, "db", work)
        out = tmp_path / "out"
        package.backup(
            source.uri,
            reading=OPLOG,
            writing=package.WriteOptions(
                out=out,
                layout=layout,
                compression=package.Compression("gzip" if compressed else "none"),
            ),
        )
        where = [f"--archive={out}"] if layout == "archive" else [f"--dir={out}"]
        done = subprocess.run(
            ["mongorestore", "--uri", target.uri, "--oplogReplay", *where,
             *(["--gzip"] if compressed else [])],
            env=environment(), capture_output=True, text=True, timeout=COMMAND_SECONDS,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        equal(source, "db", target, "db")


@pytest.mark.skipif(shutil.which("mongodump") is None, reason="mongodump is not on PATH")
@pytest.mark.parametrize("more", [[], ["--gzip"]])
@pytest.mark.parametrize("archive", [True, False])
def test_what_mongodump_kept_is_replayed(tmp_path: Path, more: list[str], *, archive: bool) -> None:
    with Mongod(replica_set=True) as mongod, Mongod() as other:
        source, target = Server(mongod.uri), Server(other.uri)
        insert(source.connection, "db", "a", ({"_id": n, "x": n} for n in range(20_000)))
        out = tmp_path / "out"
        where = f"--archive={out}" if archive else f"--out={out}"
        dump = subprocess.Popen(
            ["mongodump", "--uri", source.uri, "--oplog", where, *more], env=environment(),
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with source.client() as client:
            for n in range(3000):
                client["db"]["a"].update_one({"_id": n}, {"$set": {"x": -n}})
                if dump.poll() is not None:
                    break
        assert dump.wait() == 0
        report = package.restore(target.uri, name=out, options=REPLAY)
        assert report.complete
        assert report.operations


@pytest.mark.needs("oplog updates of version 2")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_dump_with_an_oplog_that_mongodump_made(
    server: Server, tmp_path: Path, *, compressed: bool
) -> None:
    """Its name never ends with `.gz`, whatever is in it."""
    folder = tmp_path / "dump"
    shutil.copytree(Path(__file__).parent.parent / "data/mongodump/oplog", folder)
    if compressed:
        path = folder / "oplog.bson"
        path.write_bytes(gzip.compress(path.read_bytes()))
    target = server.new_database()
    report = package.restore(server.uri, target_db=target, name=folder, options=REPLAY)
    assert report.complete
    # Ten updates, a transaction that makes a collection and inserts into two, and a deletion.
    assert report.operations == 14
    with server.client() as client:
        assert client[target]["b"].find_one() == {"_id": "t"}
        assert client[target]["a"].count_documents({"x": 1}) == 10
        assert client[target]["a"].count_documents({}) == 30
