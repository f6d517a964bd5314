"""What mongorestore reads restores: old archives, an oplog alone, single files, old file names.

Every byte is made here, in the form that the tool named beside it writes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.timestamp import Timestamp

import fastdump as package
from benchmarks.shapes import insert
from fastdump.codec import archive
from fastdump.model import Namespace
from fastdump.mongo.client import Document
from tests.conftest import Run, Server

TERMINATOR = b"\xff\xff\xff\xff"


def bson_of(documents: Iterable[Document]) -> bytes:
    return b"".join(map(bson.encode, documents))


def old_archive(contents: dict[Namespace, Sequence[Document]]) -> bytes:
    """Return an archive as mongodump 3.2 to 4.2 writes it: no collection has a type."""

    def header(name: Namespace, crc: int, *, ended: bool) -> bytes:
        return bson.encode({"db": name.database, "collection": name.collection, "EOF": ended,
                            "CRC": bson.Int64(crc)})  # fmt: skip

    def described(name: Namespace) -> bytes:
        own = [{"v": 2, "key": {key: 1}, "name": f"{key}_"} for key in ("_id", "x")]
        text = json.dumps({"options": {}, "indexes": own}) if name.database else ""
        return bson.encode({"db": name.database, "collection": name.collection, "metadata": text,
                            "size": 0})  # fmt: skip

    head = bson.encode({"concurrent_collections": 4, "version": "0.1", "server_version": "4.0.2",
                        "tool_version": "r4.0.2"})  # fmt: skip
    blocks = []
    for name, documents in contents.items():
        data = bson_of(documents)
        crc = archive.crc64(data)
        signed = crc - 2**64 if crc >= 2**63 else crc
        blocks += [header(name, 0, ended=False), data, TERMINATOR]
        blocks += [header(name, signed, ended=True), TERMINATOR]
    return b"".join((archive.MAGIC, head, *map(described, contents), TERMINATOR, *blocks))


def held(server: Server, database: str, collection: str = "c") -> list[Any]:
    """Return the documents of a collection, in the order of their `_id`s."""
    with server.client() as client:
        return list(client[database][collection].find(sort=[("_id", 1)]))


def test_an_archive_of_an_older_mongodump(server: Server, tmp_path: Path) -> None:
    database, documents = server.new_database(), [{"_id": n, "x": n} for n in range(30)]
    version = {"_id": "featureCompatibilityVersion", "version": "4.0"}
    contents: dict[Namespace, Sequence[Document]] = {
        Namespace(database, "c"): documents,
        Namespace("", "oplog"): [],
        Namespace("admin", "system.version"): [version],
    }
    (tmp_path / "old").write_bytes(old_archive(contents))
    report = package.restore(server.uri, name=tmp_path / "old")
    assert (report.complete, report.inserted, report.indexes) == (True, 30, 1)
    assert held(server, database) == documents
    assert package.verify(name=tmp_path / "old").intact


def entries(database: str, *operations: Document) -> bytes:
    """Return an oplog as `mongodump --db local --collection oplog.rs` writes it."""
    return bson_of(
        {"ts": Timestamp(1600000000 + n, 1), "t": 1, "v": 2,
         "ns": f"{database}.c", **operation}
        for n, operation in enumerate(operations)
    )  # fmt: skip


def forward(database: str) -> bytes:
    """Return an oplog that changes, deletes and inserts, and makes a collection with an index."""
    return entries(
        database,
        {"op": "c", "ns": f"{database}.$cmd", "o": {"create": "c"}},
        {"op": "u", "o": {"_id": 1, "x": "new"}, "o2": {"_id": 1}},
        {"op": "d", "o": {"_id": 2}},
        {"op": "i", "ns": f"{database}.gone", "o": {"_id": 1}},
        {"op": "c", "ns": f"{database}.$cmd", "o": {"drop": "gone"}},
        {"op": "i", "o": {"_id": 9}},
        {"op": "c", "ns": f"{database}.$cmd", "o": {"create": "made"}},
        {"op": "c", "ns": f"{database}.$cmd",
         "o": {"createIndexes": "made", "v": 2, "key": {"y": 1}, "name": "y_1"}},
        {"op": "i", "ns": f"{database}.made", "o": {"_id": 5, "y": 1}},
    )  # fmt: skip


ROLLED = [{"_id": 0, "x": 0}, {"_id": 1, "x": "new"}, {"_id": 3, "x": 3}, {"_id": 9}]
BEFORE = [{"_id": n, "x": n} for n in range(4)]


@pytest.mark.parametrize("form", ["oplog.bson", "gzipped oplog.bson", "oplog.bson.gz"])
def test_an_oplog_alone_rolls_a_server_forward(
    fastdump: Run, server: Server, tmp_path: Path, form: str
) -> None:
    """What the target holds is changed, not made anew, and its indexes stay."""
    database = server.new_database()
    insert(server.connection, database, "c", BEFORE)
    with server.client() as client:
        client[database]["c"].create_index("x", name="x_1", unique=True)
    folder = tmp_path / "dump"
    folder.mkdir()
    data = forward(database)
    name = form.split()[-1]
    (folder / name).write_bytes(data if form == "oplog.bson" else gzip.compress(data))
    for _time in range(2):
        done = fastdump("restore", "--target-uri", server.uri, "--oplog-replay", "-y", folder)
        assert done.code == 0, done.err
        assert "replayed up to 2020-09-13" in done.err
        assert held(server, database) == ROLLED
        assert held(server, database, "made") == [{"_id": 5, "y": 1}]
    with server.client() as client:
        assert {"x_1", "_id_"} == set(client[database]["c"].index_information())
        assert "y_1" in client[database]["made"].index_information()
    assert str(folder) in fastdump("verify", folder).out + done.out


def test_what_an_oplog_alone_cannot_change_is_said(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    database = server.new_database()
    operations = [{"op": "i", "o": {"_id": n}} for n in range(3)]
    (tmp_path / "oplog.bson").write_bytes(entries(database, *operations))
    target = ("--target-uri", server.uri, "-y", tmp_path)
    done = fastdump("restore", "--oplog-replay", *target)
    assert done.code == 1
    assert f"{database}.c: 3 operations of the oplog could not be replayed" in done.err
    assert fastdump("restore", *target).code == 2
    done = fastdump("restore", "--oplog-replay", "--target-db", database, *target)
    assert (done.code, "name no target database" in done.err) == (2, True)
    done = fastdump("restore", "--oplog-replay", *target, "--ns-exclude", f"{database}.*")
    assert done.code == 0, done.err


@pytest.mark.parametrize("option", ["--oplog-file", "--oplogFile"])
@pytest.mark.parametrize("layout", ["komodo", "mongodump", "archive"])
def test_an_oplog_beside_a_backup(
    fastdump: Run, server: Server, tmp_path: Path, option: str, layout: str
) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", BEFORE)
    out = tmp_path / "out"
    package.backup(server.uri, db=database, writing=package.WriteOptions(layout=layout, out=out))
    (tmp_path / "any name").write_bytes(forward(database))
    with server.client() as client:
        client[database]["c"].delete_many({})
    target = ("--target-uri", server.uri, "--target-db", database, "-y", out)
    done = fastdump("restore", *target, option, "any name", "--oplog-replay")
    assert done.code == 0, done.err
    assert held(server, database) == ROLLED
    assert held(server, database, "made") == [{"_id": 5, "y": 1}]
    done = fastdump("restore", *target, option, "any name")
    assert (done.code, "--oplog-replay" in done.err) == (2, True)
    assert fastdump("restore", *target, option, "absent", "--oplog-replay").code == 4


def test_which_oplog_is_meant(fastdump: Run, server: Server, tmp_path: Path) -> None:
    """Beside the folders of databases `oplog.bson` is the oplog, in one of them a collection."""
    database = server.new_database()
    folder = tmp_path / "dump" / database
    folder.mkdir(parents=True)
    for name in ("c", "oplog"):
        (folder / f"{name}.bson").write_bytes(bson_of([{"_id": name}]))
    target = ("--target-uri", server.uri, "-y")
    for path in (tmp_path / "dump", folder):
        assert fastdump("restore", *target, "--drop", path).code == 0
        assert held(server, database, "oplog") == [{"_id": "oplog"}]
        done = fastdump("restore", *target, "--oplog-replay", path)
        assert (done.code, "holds no oplog" in done.err) == (2, True)
    oplog = tmp_path / "dump/oplog.bson"
    oplog.write_bytes(entries(database, {"op": "i", "o": {"_id": "z"}}))
    done = fastdump("restore", *target, "--oplog-replay", "--oplog-file", oplog, tmp_path / "dump")
    assert (done.code, "leave out --oplog-file" in done.err) == (2, True)
    assert fastdump("restore", *target, "--oplog-replay", tmp_path / "dump").code == 0
    assert held(server, database) == [{"_id": "c"}, {"_id": "z"}]
