"""What mongodump wrote is restored: from files that it wrote, and from itself where it is on PATH.

The files under tests/data/mongodump were written by mongodump of MongoDB Database Tools (August
2026) from what `fill` makes on MongoDB 6.0.5: `gzip` with --gzip, `plain` without.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Code, Int64

import fastdump
from benchmarks.shapes import hurtful, insert
from fastdump.demo.compare import CollectionState, differences, state
from fastdump.engine import planner
from fastdump.errors import BackupDamagedError, UsageError
from fastdump.layouts import segments as reading
from fastdump.mongo.client import Document, open_database
from tests.conftest import Run, Server, knows, listed, mongod_version, settled

DATA = Path(__file__).parents[1] / "data/mongodump"
LONG_NAME = "long/" * 30 + "name"  # 154 characters, 214 as a file name; 244 with the next
CUT_NAME = "cut/" * 40 + "name"


def lacking() -> list[str]:
    """Return the collections of the files that the mongod of the tests is too old for."""
    needed = {"clustered": "clustered collections", "series": "time series"}
    return [name for name, feature in needed.items() if not knows(feature)]


def copied(form: str, folder: Path) -> Path:
    """Copy the files of the collections that the mongod of the tests can hold."""
    unknown = [f"{prefix}{name}.*" for name in lacking() for prefix in ("", "system.buckets.")]
    shutil.copytree(DATA / form / "dumped", folder, ignore=shutil.ignore_patterns(*unknown))
    return folder


def fill(server: Server, name: str) -> None:
    """The database that the files were dumped from, as far as the server can hold it."""
    with server.client() as client:
        database = open_database(client, name)
        database.command({"create": "capped", "capped": True, "size": 8192})
        database.command({"create": "valid", "validator": {"n": {"$type": "int"}}})
        database.command({"create": "cased", "collation": {"locale": "en", "strength": 2}})
        database.command({"create": "empty"})
        if knows("clustered collections"):
            database.command({"create": "clustered", "clusteredIndex": {
                "key": {"_id": 1}, "unique": True}})  # fmt: skip
        if knows("time series"):
            database.command({"create": "series", "timeseries": {"timeField": "at"}})
            database["series"].insert_many(
                {"at": bson.datetime_ms.DatetimeMS(1735689600000 + n * 1000), "_id": n, "v": n}
                for n in range(50)
            )
        database["system.js"].insert_one({"_id": "f", "value": Code("function() { return 1 }")})
    collections = (
        "plain", "capped", "valid", "cased", "clustered", "a b+c%d&é", LONG_NAME, CUT_NAME
    )  # fmt: skip
    for collection in set(collections).difference(lacking()):
        documents: Any = ({"_id": n, "n": n, "long": Int64(n), "x": "y" * 20} for n in range(40))
        insert(server.connection, name, collection, documents)
    with server.client() as client:
        database = open_database(client, name)
        index: Document = {"key": {"n": 1, "x": -1}, "name": "n_x", "unique": True, "sparse": True}
        others: list[Document] = [
            {"key": {"n": "hashed"}, "name": "hash"},
            {"key": {"x": "text"}, "name": "text", "default_language": "german"},
            {"key": {"at": 1}, "name": "ttl", "expireAfterSeconds": 3600},
        ]
        database.command({"createIndexes": "plain", "indexes": [index, *others]})
        database.command({"createIndexes": "cased", "indexes": [
            {"key": {"x": 1}, "name": "x_1", "collation": {"locale": "simple"}}]})  # fmt: skip
        database.command({"create": "view", "viewOn": "plain", "pipeline": [{"$match": {"n": 1}}]})


@pytest.fixture(scope="module")
def filled(server: Server) -> str:
    name = server.new_database()
    fill(server, name)
    return name


def check_same(server: Server, expected: str, found: str) -> None:
    """Equal, but for the buckets of the time series: the server names them anew each time."""
    one, other = (without_buckets(state(server.connection, name)) for name in (expected, found))
    if mongod_version() < (6,):  # the files are of MongoDB 6.0
        one, other = settled(one), settled(other)
    assert differences(one, other) == []
    if "series" in lacking():
        return
    with server.client() as client:
        series = [list(client[name]["series"].find().sort("_id")) for name in (expected, found)]
    assert series[0] == series[1]
    assert len(series[0]) == 50


def without_buckets(found: dict[str, CollectionState]) -> dict[str, CollectionState]:
    return {
        name: replace(one, digest="") if one.kind == "timeseries" else one
        for name, one in found.items()
    }


@pytest.mark.parametrize("form", ["plain", "gzip"])
@pytest.mark.parametrize("workers", [1, 3])
def test_files_that_mongodump_wrote(
    server: Server, filled: str, form: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(reading, "SEGMENT_BYTES", 1000)
    target = server.new_database()
    folder = DATA / form / "dumped"
    unknown = [f"dumped.{name}" for name in lacking()]

    def restore() -> fastdump.RestoreReport:
        return fastdump.restore(
            server.uri,
            target_db=target,
            name=folder,
            workers=workers,
            namespaces=fastdump.NamespaceFilter(exclude=unknown),
        )

    report = restore()
    assert (report.complete, report.workers) == (True, workers)
    check_same(server, filled, target)
    again = restore()
    assert (again.complete, again.inserted, again.replaced) == (True, 0, 0)
    assert fastdump.verify(name=folder).problems == ()


def test_the_commands(fastdump: Run, server: Server, filled: str, tmp_path: Path) -> None:
    """The whole dump goes to the databases that it came from, unless there is but one."""
    target = server.new_database()
    copied("gzip", tmp_path / "dump" / target)
    (tmp_path / "dump/prelude.json.gz").write_bytes(gzip.compress(b"{}"))
    arguments = ("--target-uri", server.uri, "-y", tmp_path / "dump")
    done = fastdump("restore", *arguments)
    assert done.code == 0, done.err
    check_same(server, filled, target)
    named = server.new_database()
    assert fastdump("restore", *arguments, "--target-db", named).code == 0
    check_same(server, filled, named)
    other = server.new_database()
    copied("plain", tmp_path / "dump" / other)
    refused = fastdump("restore", *arguments, "--target-db", named)
    assert (refused.code, "holds 2 databases" in refused.err) == (2, True)
    both = fastdump("restore", *arguments, "--drop")
    assert both.code == 0, both.err
    check_same(server, filled, other)
    assert fastdump("verify", tmp_path / "dump").out.count("is intact") == 1


def test_what_is_left_out_is_said(fastdump: Run, server: Server, tmp_path: Path) -> None:
    dump = tmp_path / "dump/db"
    dump.mkdir(parents=True)
    for name in ("c", "%24admin.system.users", "system.profile"):
        (dump / f"{name}.bson").write_bytes(bson.encode({"_id": 1}))
    (tmp_path / "dump/oplog.bson").write_bytes(b"")
    done = fastdump(
        "restore", "--target-uri", server.uri, "--target-db", server.new_database(), "-y",
        tmp_path / "dump",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "users and roles of the backup are left out" in done.err
    assert "system.profile is not restored" in done.err
    assert "without --oplog-replay" in done.err
    assert "1 documents inserted" in done.out


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("c.metadata.json", b"{", "not valid metadata of mongodump"),
        ("c.metadata.json", b'{"indexes": 5}', "not valid metadata of mongodump"),
        ("c.metadata.json", b'{"options": {"$oid": "x"}}', "Extended JSON"),
        ("c.metadata.json.gz", b"\x1f\x8bno", "not valid metadata of mongodump"),
        ("c.bson", b"\0\0\0\0\0", "claims a length of 0 bytes"),
        ("c.bson", b"\xff\xff\xff\x7f\0", "claims a length of 2147483647 bytes"),
        ("c.bson", b"\xff\xff\xff\xff\0", "claims a length of -1 bytes"),
        ("c.bson", bson.encode({"_id": 1}) + bson.encode({"_id": 2})[:-2], "byte 14 is cut"),
    ],
)
def test_what_is_damaged_is_named(
    server: Server, tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    (tmp_path / "a.bson").write_bytes(bson.encode({"_id": 1}))
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BackupDamagedError, match=said) as raised:
        fastdump.restore(server.uri, target_db=server.new_database(), name=tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_gzip_file_that_is_cut(server: Server, tmp_path: Path) -> None:
    """Nothing of it may be lost in silence, and the other files are restored."""
    (tmp_path / "a.bson.gz").write_bytes(gzip.compress(bson.encode({"_id": 1})))
    (tmp_path / "c.bson.gz").write_bytes(gzip.compress(bson.encode({"_id": 1}))[:-7])
    report = fastdump.restore(server.uri, target_db=server.new_database(), name=tmp_path)
    assert not report.complete
    # The document of the other file, and the one that came before the cut.
    assert report.inserted == 2
    assert "c.bson.gz: after 14 inflated bytes: the file is cut" in report.failures[0]
    assert not fastdump.verify(name=tmp_path).intact


def test_a_name_that_leads_outside_is_only_a_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a%2F..%2F..%2Fetc.bson").write_bytes(bson.encode({"_id": 1}))
    target = server.new_database()
    assert fastdump.restore(server.uri, target_db=target, name=tmp_path).complete
    with server.client() as client:
        assert client[target].list_collection_names() == ["a/../../etc"]


def test_a_database_whose_name_looks_escaped(server: Server, tmp_path: Path) -> None:
    """The tools escape the names of collections, but not those of databases."""
    name = f"{server.new_database()}+%41"
    (tmp_path / name).mkdir()
    (tmp_path / name / "c.bson").write_bytes(bson.encode({"_id": 1}))
    report = fastdump.restore(server.uri, name=tmp_path)
    assert (report.complete, report.databases) == (True, (name,))


def test_old_metadata(server: Server, tmp_path: Path) -> None:
    """A namespace in each index, numbers of any kind, no type, no name."""
    (tmp_path / "c.bson").write_bytes(bson.encode({"_id": 1, "x": 1}))
    metadata = {
        "options": {"create": "c"},
        "indexes": [
            {"v": 1, "key": {"_id": 1}, "ns": "db.c", "name": "_id_"},
            {"v": 2, "key": {"x": {"$numberDouble": "-1.0"}}, "ns": "db.c", "name": "x_-1"},
        ],
    }
    (tmp_path / "c.metadata.json").write_text(json.dumps(metadata))
    target = server.new_database()
    report = fastdump.restore(server.uri, target_db=target, name=tmp_path)
    assert (report.complete, report.indexes) == (True, 1)
    with server.client() as client:
        assert set(client[target]["c"].index_information()) == {"_id_", "x_-1"}


def test_several_databases_need_a_choice(server: Server, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.bson").write_bytes(bson.encode({"_id": name}))
    with pytest.raises(UsageError, match="holds 2 databases"):
        fastdump.restore(server.uri, target_db="x", name=tmp_path)


@pytest.mark.skipif(not shutil.which("mongodump"), reason="mongodump is not on PATH")
@pytest.mark.parametrize("options", [[], ["--gzip"]])
def test_what_hurts_by_mongodump_itself(server: Server, tmp_path: Path, options: list[str]) -> None:
    database, target = server.new_database(), server.new_database()
    hurtful(server.connection, database)
    dump = ["mongodump", "--quiet", "--uri", server.uri, "--db", database, "--out", str(tmp_path)]
    subprocess.run([*dump, *options], check=True, timeout=60)
    report = fastdump.restore(server.uri, target_db=target, name=tmp_path / database)
    assert report.complete
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def described(folder: Path) -> dict[str, Any]:
    """Every metadata file of a dump, decoded, without what differs each time."""
    found = {}
    for path in folder.glob("*.metadata.json.gz"):
        metadata = json.loads(gzip.decompress(path.read_bytes()))
        assert len(metadata.pop("uuid", "0" * 32)) == 32
        metadata["indexes"].sort(key=lambda index: index["name"])
        found[path.name] = metadata
    return found


def test_what_we_write_is_what_mongodump_writes(
    server: Server, filled: str, tmp_path: Path
) -> None:
    report = fastdump.backup(
        server.uri, db=filled, folder=tmp_path, writing=fastdump.WriteOptions(layout="mongodump")
    )
    ours, theirs = Path(report.path) / filled, copied("gzip", tmp_path / "theirs")
    assert sorted(path.name for path in ours.iterdir()) == sorted(
        path.name for path in theirs.iterdir()
    )
    assert described(ours) == described(theirs)
    prelude = json.loads(gzip.decompress((ours / "prelude.json.gz").read_bytes()))
    assert prelude["ServerVersion"].count(".") == 2
    for path in theirs.glob("*.bson.gz"):
        mine = bson.decode_all(gzip.decompress((ours / path.name).read_bytes()))
        assert len(mine) == len(bson.decode_all(gzip.decompress(path.read_bytes())))


def test_our_own_dump_is_listed_verified_and_restored(
    fastdump: Run, server: Server, filled: str, tmp_path: Path
) -> None:
    source = ("--uri", server.uri, "--db", filled, "-f", tmp_path)
    done = fastdump("backup", *source, "-y", "--layout", "mongodump")
    assert done.code == 0, done.err
    (backup,) = listed(tmp_path)
    assert backup.name in fastdump("list", "-f", tmp_path).out
    assert "is intact" in fastdump("verify", "-f", tmp_path).out
    # By our manifest, and without it as anybody's dump.
    for which in (["-f", tmp_path], ["-f", tmp_path, "-r", backup.name], [backup / filled]):
        target = server.new_database()
        done = fastdump("restore", "--target-uri", server.uri, "--target-db", target, "-y", *which)
        assert done.code == 0, done.err
        check_same(server, filled, target)
    damaged = next(backup.glob("*/plain.bson.gz"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert fastdump("verify", "-f", tmp_path).code == 4


@pytest.mark.skipif(not shutil.which("mongorestore"), reason="mongorestore is not on PATH")
def test_by_mongorestore_itself(server: Server, filled: str, tmp_path: Path) -> None:
    target = server.new_database()
    report = fastdump.backup(
        server.uri, db=filled, folder=tmp_path, writing=fastdump.WriteOptions(layout="mongodump")
    )
    renamed = ["--nsFrom", f"{filled}.*", "--nsTo", f"{target}.*"]
    subprocess.run(
        ["mongorestore", "--quiet", "--gzip", "--uri", server.uri, *renamed, str(report.path)],
        check=True,
        timeout=60,
    )
    check_same(server, filled, target)
