"""What mongorestore reads restores: old archives, an oplog alone, single files, old file names.

Every byte is made here, in the form that the tool named beside it writes.
"""

from __future__ import annotations

import datetime
import gzip
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.timestamp import Timestamp

import fastdump as package
from benchmarks.shapes import insert
from fastdump.codec import archive
from fastdump.engine import planner
from fastdump.model import Namespace
from fastdump.mongo.client import Document
from tests.conftest import Run, Server, command, environment

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


def dumped(folder: Path, name: str, documents: Iterable[Document], metadata: str = "") -> Path:
    """Write the files of a collection as mongodump does, plain or gzip; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    end = ".gz" if name.endswith(".gz") else ""
    stem = name.removesuffix(end).rpartition(".")[0]
    for path, content in (
        (folder / name, bson_of(documents)),
        (folder / f"{stem}.metadata.json{end}", metadata.encode()),
    ):
        if content:
            path.write_bytes(gzip.compress(content) if end else content)
    return folder / name


INDEX = '{"indexes": [{"v": 2, "key": {"x": 1}, "name": "x_1"}], "collectionName": "c"}'


@pytest.mark.parametrize("name", ["c.bson", "c.bson.gz", "c.bin"])
def test_one_file(fastdump: Run, server: Server, tmp_path: Path, name: str) -> None:
    """The collection is called as the file, the database as its folder, if nobody says more."""
    database = server.new_database()
    documents = [{"_id": n, "x": n} for n in range(100)]
    file = dumped(tmp_path / database, name, documents, INDEX)
    dumped(tmp_path / database, "other.bson", [{"_id": 1}])
    target = ("--target-uri", server.uri, "-y", file)
    assert fastdump("verify", file).code == 0
    for options, found in (
        ([], (database, "c")),
        (["--target-collection", "d"], (database, "d")),
        (["--target-db", f"{database}2"], (f"{database}2", "c")),
        (["--ns-from", f"{database}.c", "--ns-to", f"{database}3.e"], (f"{database}3", "e")),
    ):
        done = fastdump("restore", *target, *options)
        assert done.code == 0, done.err
        assert held(server, *found) == documents
        with server.client() as client:
            assert "x_1" in client[found[0]][found[1]].index_information()
            assert "other" not in client[found[0]].list_collection_names()
    done = fastdump("restore", "--target-uri", server.uri, "-y", file.parent,
                    "--target-collection", "d")  # fmt: skip
    assert (done.code, "names one collection, and there are 2" in done.err) == (2, True)


@pytest.mark.needs("time series")
def test_the_buckets_of_a_time_series_as_one_file(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    database, other = server.new_database(), server.new_database()
    with server.client() as client:
        client[database].create_collection("s", timeseries={"timeField": "t"})
        client[database]["s"].insert_one({"t": datetime.datetime(2024, 1, 1), "v": 1})
    package.backup(
        server.uri,
        db=database,
        writing=package.WriteOptions(
            layout="mongodump", out=tmp_path / "dump", compression=package.Compression("none")
        ),
    )
    file = tmp_path / "dump" / database / "system.buckets.s.bson"
    assert package.restore(server.uri, target_db=other, name=file).complete
    with server.client() as client:
        assert [one["v"] for one in client[other]["s"].find()] == [1]
    (file.parent / "s.metadata.json").unlink()
    done = fastdump("restore", "--target-uri", server.uri, "-y", file)
    assert (done.code, "without s.metadata.json beside" in done.err) == (4, True)


def old(name: str) -> str:
    """Return metadata as mongodump up to 4.2 writes them for a server that is as old."""
    index = {"v": 1, "key": {"_id": 1}, "name": "_id_", "ns": f"old.{name}"}
    return json.dumps({"options": {}, "indexes": [index]})


def new(name: str) -> str:
    """Return metadata as mongodump writes them since 4.4."""
    return json.dumps({"indexes": [], "collectionName": name, "type": "collection"})


@pytest.mark.parametrize(
    ("stem", "metadata", "name"),
    [
        ("c++", old("c++"), "c++"),
        ("50%off", old("50%off"), "50%off"),
        ("a%20b", old("a%20b"), "a%20b"),
        ("a%20b+c%25", old("a b+c%"), "a b+c%"),  # mongodump 4.2
        ("a%20b+c", '{"indexes": []}', "a b+c"),
        ("c++", new("c  "), "c  "),
        ("c%2B%2B", new("c++"), "c++"),
        ("c%2B%2B", "", "c++"),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_names_of_files_of_every_age(
    fastdump: Run,
    server: Server,
    tmp_path: Path,
    stem: str,
    metadata: str,
    name: str,
    *,
    alone: bool,
) -> None:
    database = server.new_database()
    file = dumped(tmp_path / database, f"{stem}.bson", [{"_id": 1}], metadata)
    path = file if alone else file.parent
    done = fastdump("restore", "--target-uri", server.uri, "-y", path)
    assert done.code == 0, done.err
    with server.client() as client:
        assert client[database].list_collection_names() == [name]


def test_a_name_that_nobody_can_know_is_said(fastdump: Run, server: Server, tmp_path: Path) -> None:
    file = dumped(tmp_path / server.new_database(), "c++.bson", [{"_id": 1}])
    for path in (file, file.parent):
        done = fastdump("restore", "--target-uri", server.uri, "-y", path)
        assert done.code == 0
        assert "no metadata with the name of the collection; it is taken as 'c  '" in done.err


@pytest.mark.parametrize("other", ["c.bson.gz", "c.bin", "%63.bson"])
def test_two_files_of_one_collection(
    fastdump: Run, server: Server, tmp_path: Path, other: str
) -> None:
    """Nobody knows which is meant; one of them was restored without a word."""
    folder = tmp_path / server.new_database()
    dumped(folder, "c.bson", [{"_id": 1}])
    dumped(folder, other, [{"_id": 2}])
    done = fastdump("restore", "--target-uri", server.uri, "-y", folder)
    assert done.code == 4
    assert "c.bson" in done.err
    assert other in done.err
    with server.client() as client:
        assert client[folder.name].list_collection_names() == []


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["line ends", "a log line", "both"])
def test_an_archive_that_a_terminal_has_changed(
    server: Server, tmp_path: Path, fault: str, *, stream: bool, compressed: bool
) -> None:
    """As `docker exec -t` and `2>&1` do it: known before anything is written."""
    database = server.new_database()
    data = old_archive({
        Namespace(database, "empty"): [], Namespace(database, "c"): [
            {"_id": n, "text": "one\ntwo" * n} for n in range(20)]})  # fmt: skip
    data = gzip.compress(data, mtime=0) if compressed else data
    if fault != "line ends":
        data = b"2024-05-01T03:00:00.000+0000\twriting app.c to archive on stdout\n" + data
    if fault != "a log line":
        data = data.replace(b"\n", b"\r\n")
    file = tmp_path / "broken"
    file.write_bytes(data)
    with file.open("rb") as opened:
        done = subprocess.run(
            command("restore", "--target-uri", server.uri, "-y", "-" if stream else file),
            stdin=opened, env=environment(), capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert ("leave out -t" if fault == "line ends" else "2> instead of 2>&1") in done.stderr
    with server.client() as client:
        assert client[database].list_collection_names() == []


def test_an_archive_of_text_with_such_line_ends(server: Server, tmp_path: Path) -> None:
    database, documents = server.new_database(), [{"_id": 1, "text": "one\r\ntwo\r\n"}]
    (tmp_path / "good").write_bytes(old_archive({Namespace(database, "c"): documents}))
    assert package.restore(server.uri, name=tmp_path / "good").complete
    assert held(server, database) == documents


TWICE: list[Document] = [
    {"_id": 1, "a": 1}, {"_id": 2, "a": 2}, {"_id": 1, "a": 3}, {"_id": 1.0, "a": 4},
    {"_id": 2, "a": 2},
]  # fmt: skip


@pytest.mark.parametrize("form", ["c.bson", "c.bson.gz", "archive"])
@pytest.mark.parametrize("before", ["nothing", "empty", "other", "restored"])
def test_an_id_that_is_there_twice(
    fastdump: Run, server: Server, tmp_path: Path, form: str, before: str
) -> None:
    """The first one wins, each time, and the others are named; one that is equal is no loss."""
    database = server.new_database()
    if form == "archive":
        file = tmp_path / "archive"
        file.write_bytes(old_archive({Namespace(database, "c"): TWICE}))
    else:
        file = dumped(tmp_path / database, form, TWICE)
    restore = ("restore", "--target-uri", server.uri, "-y", file)
    with server.client() as client:
        if before == "empty":
            client[database].create_collection("c")
        elif before == "other":
            client[database]["c"].insert_one({"_id": 2, "a": "old"})
        elif before == "restored":
            assert fastdump(*restore).code == 1
    done = fastdump(*restore)
    assert done.code == 1, done.err
    assert held(server, database) == TWICE[:2]
    assert f"{database}.c: document 1: another document of the source has" in done.err
    assert "fastdump: 2 documents were refused: another document of the source" in done.err
    # Where it might not have been found, the user is told how to find it.
    assert ("verify --unique" in done.err) == (before in ("other", "restored"))
    assert fastdump("verify", "--unique", file).code == 4


def test_an_id_that_is_there_twice_among_many(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another batch of another process."""
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr("fastdump.layouts.segments.SEGMENT_BYTES", 100_000)
    documents = [{"_id": n % 4000, "n": n, "x": "x" * 100} for n in range(4010)]
    file = dumped(tmp_path / server.new_database(), "c.bson", documents)
    report = package.restore(server.uri, name=file, workers=2)
    assert (report.inserted, report.replaced, report.rejected) == (4000, 0, 10)


@pytest.mark.parametrize("form", ["c.bson", "archive"])
def test_documents_without_an_id(fastdump: Run, server: Server, tmp_path: Path, form: str) -> None:
    """As an oplog that was dumped as a collection; beside documents that have one."""
    database = server.new_database()
    documents: list[Document] = [*({"op": "i", "n": n, "o": {"_id": n}} for n in range(5)),
                 *({"_id": n, "n": n} for n in range(10))]  # fmt: skip
    file = tmp_path / "archive"
    if form == "archive":
        file.write_bytes(old_archive({Namespace(database, "c"): documents}))
    else:
        file = dumped(tmp_path / database, form, documents)
    for times in (1, 2):
        done = fastdump("restore", "--target-uri", server.uri, "-y", file)
        assert done.code == 0, done.err
        assert "c: 5 documents have no _id: the server gave each a new one, so that" in done.err
        assert len(held(server, database)) == 10 + 5 * times
