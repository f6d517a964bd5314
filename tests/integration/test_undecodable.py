"""Values that Python cannot decode: late dates, text that is not UTF-8, malformed binary data."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

import fastdump as package
from fastdump.codec.bson import document
from fastdump.engine import planner
from fastdump.model import Selection
from fastdump.mongo.bounds import BoundFinder
from fastdump.mongo.catalog import read_definitions
from fastdump.mongo.client import Client
from tests.conftest import Run, Server
from tests.proxy import Document, WireProxy, refusal

TOO_LATE = struct.pack("<q", 2**62)


def text(value: bytes) -> bytes:
    return struct.pack("<i", len(value) + 1) + value + b"\0"


IDENTITIES = {
    "a late date": b"\x09_id\0" + TOO_LATE,
    "text": b"\x02_id\0" + text(b"\xff\xfe"),
    "a name within": b"\x03_id\0" + document(b"\x10\xff\xfe\0\1\0\0\0"),
    "a date within": b"\x03_id\0" + document(b"\x09at\0" + TOO_LATE),
    "old binary data": b"\x05_id\0" + struct.pack("<i", 3) + b"\x02abc",
    "code": b"\x0d_id\0" + text(b"\xff"),
    "a pattern": b"\x03_id\0" + document(b"\x0ba\0\xff\0\0"),
}
SHOWN = ["4611686018427387904", "\N{REPLACEMENT CHARACTER}", '"subType": "02"']
"""What is seen of them."""


def strange(rest: bytes = b"") -> list[RawBSONDocument]:
    return [RawBSONDocument(document(one, rest)) for one in IDENTITIES.values()]


def put(server: Server, database: str, collection: str, documents: list[Any]) -> None:
    with server.client() as client:
        reply = client[database].command({"insert": collection, "documents": documents})
        assert reply["n"] == len(documents), reply


def held(server: Server, database: str, collection: str) -> set[bytes]:
    with server.client() as client:
        reply = client[database].command({"find": collection})
        return {bytes(one.raw) for one in reply["cursor"]["firstBatch"]}


def refuse_duplicates(server: Server, target: str) -> None:
    with server.client() as client:
        client[target]["c"].create_index("unique", unique=True)
        put(server, target, "c", [{"_id": "first", "unique": 1}])


def refuse_by_validator(server: Server, target: str) -> None:
    with server.client() as client:
        client[target].create_collection("c", validator={"unique": {"$ne": 1}})


def refuse_by_index(server: Server, target: str) -> None:
    """With the undecodable value in the error itself."""
    with server.client() as client:
        client[target]["c"].create_index("late", unique=True)
        put(server, target, "c", [RawBSONDocument(document(b"\x09_id\0" + TOO_LATE, LATE))])


LATE = b"\x02late\0" + text(b"\xff\xfe")
ONE = b"\x10unique\0\1\0\0\0"


@pytest.mark.parametrize("layout", ["komodo", "komodo-json", "mongodump", "archive"])
@pytest.mark.parametrize("refuse", [refuse_duplicates, refuse_by_validator, refuse_by_index])
def test_what_the_target_refuses(
    server: Server, fastdump: Run, tmp_path: Path, refuse: Any, layout: str
) -> None:
    """Each is named, and the rest is restored."""
    source, target = server.new_database(), server.new_database()
    put(server, source, "c", [*strange(LATE + ONE), {"_id": "good"}])
    out = tmp_path / "out"
    package.backup(server.uri, db=source, writing=package.WriteOptions(out=out, layout=layout))
    refuse(server, target)
    done = fastdump("restore", out, "--target-uri", server.uri, "--target-db", target, "-y")
    assert "Traceback" not in done.err
    assert done.code == 1, done.err
    assert bson.encode({"_id": "good"}) in held(server, target, "c")
    if layout != "komodo-json":  # which cannot carry them
        refused = len(IDENTITIES) - (refuse is refuse_by_index)  # the first replaces its older self
        assert f"{refused} documents" in done.err
        assert all(one in done.err + done.out for one in SHOWN)


@pytest.mark.parametrize("layout", ["komodo", "mongodump", "archive"])
def test_there_and_back(server: Server, fastdump: Run, tmp_path: Path, layout: str) -> None:
    """Written, replaced where they differ, compared, and looked at for doubles."""
    source, target = server.new_database(), server.new_database()
    put(server, source, "c", strange(LATE))
    out = tmp_path / "out"
    package.backup(server.uri, db=source, writing=package.WriteOptions(out=out, layout=layout))
    put(server, target, "c", strange()[:3])
    arguments = ("restore", out, "--target-uri", server.uri, "--target-db", target, "-y")
    for _again in range(2):
        done = fastdump(*arguments, "--objcheck")
        assert done.code == 1, done.err  # since mongorestore's check refuses them
        done = fastdump(*arguments)
        assert done.code == 0, done.err
        assert held(server, target, "c") == held(server, source, "c")
    assert fastdump("verify", out, "--unique").code == 0
    if layout != "archive":
        against = ("verify", out, "--against", "--deep", "--uri", server.uri, "--db", target)
        assert fastdump(*against).code == 0
        with server.client() as client:
            client[target].command({"delete": "c", "deletes": [{"q": {}, "limit": 0}]})
        done = fastdump(*against)
        assert done.code == 1
        assert "Traceback" not in done.err
        assert "is missing" in done.out + done.err


def test_twice_in_a_backup(server: Server, fastdump: Run, tmp_path: Path) -> None:
    (tmp_path / "dump" / "db").mkdir(parents=True)
    raw = b"".join(one.raw for one in strange())
    (tmp_path / "dump" / "db" / "c.bson").write_bytes(raw * 2)
    done = fastdump("verify", tmp_path / "dump", "--unique")
    assert "Traceback" not in done.err
    assert done.code == 4


@pytest.mark.parametrize("records", [True, False])
def test_a_collection_is_cut_at_such(
    server: Server, monkeypatch: pytest.MonkeyPatch, *, records: bool
) -> None:
    """By themselves, and at records that are found by them."""
    source, target = server.new_database(), server.new_database()
    put(server, source, "c", [numbered(number) for number in range(3000)])
    with server.client() as client:
        # So few records are left that those between must be found by samples.
        client[source].command({"delete": "c", "deletes": [{"q": {"keep": False}, "limit": 0}]})
        (collection,) = read_definitions(client, Selection(source))
        bounds = BoundFinder(client, records=records).find(collection, 8)
        assert bounds.records if records else bounds.ids
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 2000)
    if not records:
        monkeypatch.setattr("fastdump.engine.sessions.plain.has_own_records", lambda _client: False)
    package.copy(server.uri, server.uri, db=source, target_db=target, workers=2)
    assert held(server, target, "c") == held(server, source, "c")


def numbered(number: int) -> RawBSONDocument:
    identity = (
        b"\x09_id\0" + struct.pack("<q", 2**62 + number),
        b"\x02_id\0" + text(b"\xff%d" % number),
        b"\x05_id\0" + struct.pack("<i", 5) + b"\x02%05d" % number,
    )[number % 3]
    return RawBSONDocument(document(identity, b"\x08keep\0%c" % (number % 50 == 0)))


def wrong() -> Document:
    return {"index": 0, "code": 121, "errmsg": "XX", "errInfo": {"failingDocumentId": "XX"}}


ERRORS: dict[str, Document] = {
    "insert": {"n": 0, "ok": 1.0, "writeErrors": [wrong()]},
    "find": refusal(2, "XX"),
    "listCollections": refusal(2, "XX"),
    "create": refusal(2, "XX"),
    "createIndexes": refusal(2, "XX"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_a_server_says(server: Server, fastdump: Run, name: str) -> None:
    source, target = server.new_database(), server.new_database()
    with server.client() as client:
        client[source]["c"].insert_one({"_id": 1})
        client[source]["c"].create_index("x")
    with WireProxy(server.uri) as proxy:
        proxy.around(name, lambda _command, _forward: ERRORS[name])
        proxy.spoiled = (b"XX", b"\xff\xfe")
        done = fastdump(
            "copy", "--uri", proxy.uri if name == "find" else server.uri,
            "--target-uri", proxy.uri, "--db", source, "--target-db", target, "-y",
        )  # fmt: skip
    assert "Traceback" not in done.err
    assert done.code in (1, 3)
    assert "\N{REPLACEMENT CHARACTER}" in done.err + done.out


@pytest.mark.parametrize("spoiled", [b"spoil_db", b"spoil_cc", b"spoil_ix", b"spoil_kk"])
def test_names(server: Server, fastdump: Run, tmp_path: Path, spoiled: bytes) -> None:
    """What is called so cannot be asked for, so it is named; what can be left alone is."""
    with server.client() as client:
        client.drop_database("spoil_db")
        client["spoil_db"]["spoil_cc"].insert_one({"_id": 1})
        client["spoil_db"]["spoil_cc"].create_index("spoil_kk", name="spoil_ix")
    is_index = spoiled in (b"spoil_ix", b"spoil_kk")
    with WireProxy(server.uri) as proxy:
        for name in ("listDatabases", "listCollections", "listIndexes"):
            proxy.around(name, lambda command, forward: forward(command))
        proxy.spoiled = (spoiled, spoiled[:6] + b"\xff\xfe")
        arguments = ("backup", "--uri", proxy.uri, "-f", tmp_path, "--layout", "mongodump")
        done = fastdump(*arguments, *(["--db", "spoil_db"] if is_index else []))
    assert "Traceback" not in done.err
    assert done.code == (0 if is_index else 3), done.err
    if not is_index:
        assert "is not UTF-8" in done.err
        return
    target = server.new_database()
    restore = ("restore", "--target-uri", server.uri, "--target-db", target, "-f", tmp_path, "-y")
    done = fastdump(*restore)
    assert "Traceback" not in done.err
    assert done.code == (1 if spoiled == b"spoil_ix" else 0), done.err
    assert held(server, target, "spoil_cc") == {bytes(bson.encode({"_id": 1}))}


@pytest.fixture
def strictly_described(server: Server) -> Iterator[str]:
    """A database whose definitions hold what Python cannot decode."""
    name = server.new_database()
    values = document(b"\x09late\0" + TOO_LATE, b"\x02text\0" + text(b"\xff\xfe"))
    late = RawBSONDocument(document(b"\x09$lt\0" + TOO_LATE))
    spoiled = RawBSONDocument(document(b"\x02$ne\0" + text(b"\xff\xfe")))
    with server.client() as client:
        database = client[name]
        database.create_collection("c", validator={"at": late, "text": spoiled})
        database.command({"create": "view", "viewOn": "c", "pipeline": [{"$match": {"at": late}}]})
        index = {"key": {"at": 1}, "name": "at_1", "partialFilterExpression": {"at": late}}
        database.command({"createIndexes": "c", "indexes": [index]})
        put(
            server,
            name,
            "c",
            [{"_id": 1, "at": datetime.datetime(2026, 1, 1), "inner": RawBSONDocument(values)}],
        )
    yield name
    with server.client() as client:
        client.drop_database(name)


@pytest.mark.parametrize("layout", ["komodo", "komodo-json", "mongodump", "archive"])
def test_definitions(
    server: Server, fastdump: Run, tmp_path: Path, strictly_described: str, layout: str
) -> None:
    """Each command on them, in each layout; what Komodo's own layout cannot carry is said."""
    source, target = strictly_described, server.new_database()
    out = tmp_path / "out"
    uri = ("--uri", server.uri, "--db", source)
    to_target = ("--target-uri", server.uri, "--target-db", target, "-y")
    against = ("verify", out, "--against", "--deep", "--uri", server.uri, "--db", target)
    commands = [
        ("backup", *uri, "--layout", layout, "--dry-run", "--out", out),
        ("backup", *uri, "--layout", layout, "--out", out, "--progress", "json"),
        ("list", "-f", tmp_path),
        ("verify", out),
        ("restore", out, *to_target, "--dry-run"),
        ("restore", out, *to_target, "--progress", "json"),
        ("restore", out, *to_target),  # everything is there already
        *([] if layout == "archive" else [against]),
        ("copy", *uri, "--target-uri", server.uri, "--target-db", f"{target}_copy", "-y"),
    ]
    for arguments in commands:
        done = fastdump(*arguments)
        assert "Traceback" not in done.err
        assert done.code == 0, done
    kept = [target, f"{target}_copy"] if layout != "komodo-json" else [f"{target}_copy"]
    with server.client() as client:
        for found in kept:
            assert defined(client, found) == defined(client, source)


def defined(client: Client, name: str) -> list[tuple[str, bytes, tuple[bytes, ...]]]:
    found = read_definitions(client, Selection(name))
    return [(one.name, one.options, one.indexes) for one in found]
