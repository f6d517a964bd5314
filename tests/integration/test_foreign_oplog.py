"""Replaying what an `oplog.bson` may hold that was not written by fastdump."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.timestamp import Timestamp

import fastdump as package
from fastdump import LoadOptions
from fastdump.errors import BackupDamagedError, ServerError
from fastdump.report import RestoreReport
from tests.conftest import Run, Server

Entry = dict[str, Any]

REPLAY = LoadOptions(oplog_replay=True)
TOO_LATE = 2**62
"""Milliseconds that lead beyond the year 9999."""
NO_TEXT = b"\xff\xfe"
"""What is no UTF-8."""

PLAIN: Entry = {"op": "i", "ns": "app.c", "o": {"_id": "plain"}}
NAME: Entry = {"op": "c", "ns": "app.$cmd"}


def dump(folder: Path, *entries: Entry | bytes) -> Path:
    """Write a folder of mongodump's that holds one document and an oplog."""
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "c.bson").write_bytes(bson.encode({"_id": "before"}))
    (folder / "oplog.bson").write_bytes(
        b"".join(
            entry if isinstance(entry, bytes) else bson.encode(stamped(number, entry))
            for number, entry in enumerate(entries, start=1)
        )
    )
    return folder


def stamped(number: int, entry: Entry) -> Entry:
    return {"ts": Timestamp(1_700_000_000, number), "t": 1, "v": 2, **entry}


def replay(server: Server, folder: Path, target: str) -> RestoreReport:
    return package.restore(
        server.uri,
        name=folder,
        options=REPLAY,
        namespaces=package.NamespaceFilter(rename=[("app.*", f"{target}.*")]),
    )


NOISE: list[Entry] = [
    {"op": "n", "ns": "", "o": {"msg": "periodic noop"}},
    {"op": "n", "ns": "app.c", "o": {}, "o2": {"type": "migrateChunkToNewShard"}},
    {"op": "n", "ns": "", "o": {}, "wall": DatetimeMS(TOO_LATE)},
    {"op": "km", "ns": "config.keys", "o": {"k": 1}},
    {"op": "ci", "ns": "admin.$container", "o": {"k": b"1", "v": b"2"}},
    {"op": "xi", "ns": "app.c", "o": {"key": b"1"}},
    {"op": "xd", "o": 1},
    {"op": "i", "ns": "config.system.sessions", "o": {"_id": {"id": b"1"}}},
    {"op": "d", "ns": "config.cache.collections", "o": {"_id": "app.c"}},
    {"op": "c", "ns": "config.$cmd", "o": {"create": "fastdump_noise"}},
    {"op": "c", "ns": "config.$cmd", "o": {"drop": "transactions"}},
    {**NAME, "o": {"applyOps": []}},
    {**NAME, "o": {"applyOps": [{"op": "n", "ns": "", "o": {}}]}},
    {**NAME, "o": {"abortIndexBuild": "c", "indexes": []}},
]


@pytest.mark.parametrize("noise", NOISE, ids=lambda one: f"{one['op']} {one.get('ns')}")
def test_what_means_nothing_elsewhere_is_passed_over(
    server: Server, tmp_path: Path, noise: Entry
) -> None:
    target = server.new_database()
    folder = dump(tmp_path / "dump", PLAIN, noise, {**PLAIN, "o": {"_id": "after"}})
    report = replay(server, folder, target)
    assert report.complete
    assert report.operations == 2
    with server.client() as client:
        found = {one["_id"] for one in client[target]["c"].find()}
        assert found == {"before", "plain", "after"}
        assert "fastdump_noise" not in client["config"].list_collection_names()


MEANT: list[tuple[Entry, list[Any]]] = [
    ({**PLAIN, "fromMigrate": True}, ["before", "plain"]),
    ({**NAME, "o": {"applyOps": [{**NAME, "o": {"applyOps": [PLAIN]}}]}}, ["before", "plain"]),
    ({"op": "d", "ns": "app.c", "b": True, "o": {"_id": "before"}}, []),
    ({**PLAIN, "wall": "not a date"}, ["before", "plain"]),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "expected"), MEANT)
def test_what_means_something_is_applied(
    server: Server, tmp_path: Path, entry: Entry, expected: list[Any]
) -> None:
    target = server.new_database()
    assert replay(server, dump(tmp_path / "dump", entry), target).operations == 1
    with server.client() as client:
        assert [one["_id"] for one in client[target]["c"].find()] == expected


def test_values_that_python_does_not_know(server: Server, tmp_path: Path) -> None:
    """Dates beyond the year 9999 and strings that are not UTF-8."""
    target = server.new_database()
    late = DatetimeMS(TOO_LATE)
    text = {"text": "XX"}
    entries: list[Entry] = [
        {**PLAIN, "wall": late, "o": {"_id": late, **text}},
        {"op": "u", "ns": "app.c", "o": {"_id": late, "more": late, **text}, "o2": {"_id": late}},
        {**NAME, "o": {"create": "strict", "validator": {"at": {"$lt": late}}}},
        {**NAME, "o": {"createIndexes": "c", "v": 2, "key": {"at": 1}, "name": "at_1",
                       "partialFilterExpression": {"at": {"$gt": late}}}},
    ]  # fmt: skip
    raw = [bson.encode(stamped(n, one)).replace(b"XX", NO_TEXT) for n, one in enumerate(entries)]
    folder = dump(tmp_path / "dump", *raw)
    report = replay(server, folder, target)
    assert report.complete, report.failures
    assert report.operations == len(entries)
    with server.client() as client:
        assert client[target]["c"].count_documents({"_id": late}) == 1


def test_an_index_of_an_old_server(server: Server, tmp_path: Path) -> None:
    """Up to MongoDB 4.0, an index was an insert into a collection of its own."""
    index = {"v": 2, "key": {"x": 1}, "name": "x_1", "ns": "app.c"}
    target = server.new_database()
    entry = {"op": "i", "ns": "app.system.indexes", "o": index}
    assert replay(server, dump(tmp_path / "dump", entry), target).complete
    with server.client() as client:
        assert "x_1" in client[target]["c"].index_information()


MALFORMED: list[Entry | bytes] = [
    {},
    {"op": "i"},
    {"op": 5, "ns": "app.c", "o": {}},
    {"op": "?", "ns": "app.c", "o": {}},
    {"op": "i", "ns": "app.c"},
    {"op": "i", "ns": "app.c", "o": 1},
    {"op": "i", "ns": "app.c", "o": [1]},
    {"op": "i", "ns": "", "o": {}},
    {"op": "i", "ns": "app", "o": {}},
    {"op": "i", "ns": None, "o": {}},
    {"op": "i", "ns": "app.system.views", "o": {}},
    {"op": "i", "ns": "app.system.views", "o": {"_id": "view", "viewOn": "c"}},
    {"op": "i", "ns": "app.system.views", "o": {"_id": "app.view", "viewOn": 3}},
    {"op": "u", "ns": "app.system.views", "o": {"$v": 2}},
    {"op": "i", "ns": "app.system.indexes", "o": {"key": {"x": 1}}},
    {"op": "i", "ns": "app.system.indexes", "o": {"ns": "app.c", "key": {"x": 1}}},
    {**NAME, "o": {}},
    {**NAME, "o": {"": 1}},
    {**NAME, "o": {"create": 1}},
    {**NAME, "o": {"create": ""}},
    {**NAME, "o": {"drop": None}},
    {**NAME, "o": {"collMod": "c", "index": "x"}},
    {**NAME, "o": {"createIndexes": "c"}},
    {**NAME, "o": {"createIndexes": "c", "indexes": 1}},
    {**NAME, "o": {"createIndexes": "c", "indexes": [1]}},
    {**NAME, "o": {"createIndexes": "c", "key": "x", "name": "x_1"}},
    {**NAME, "o": {"commitIndexBuild": "c", "indexes": [{"key": {"x": 1}}]}},
    {**NAME, "o": {"dropIndexes": "c"}},
    {**NAME, "o": {"applyOps": 1}},
    {**NAME, "o": {"applyOps": [1]}},
    {**NAME, "o": {"applyOps": [{}]}},
    {**NAME, "o": {"applyOps": [PLAIN]}, "txnNumber": 1},
    {**NAME, "o": {"applyOps": [1]}, "txnNumber": 1, "lsid": {"id": b""}},
    {**NAME, "o": {"applyOps": {}}, "txnNumber": 1, "lsid": {"id": b""}},
    bson.encode({"op": "n"}),
    bson.encode({"ts": 5, **PLAIN}),
    # A string that is not UTF-8, as a value and as a name.
    bson.encode(stamped(1, {"op": "i", "ns": "app.XX", "o": {}})).replace(b"XX", NO_TEXT),
    bson.encode(stamped(1, {**NAME, "o": {"crXX": "c"}})).replace(b"XX", NO_TEXT),
    bson.encode(stamped(1, {**NAME, "o": {"drop": "XX"}})).replace(b"XX", NO_TEXT),
    # A value that reaches beyond its document.
    b"\x10\0\0\0\x02op\0\xff\0\0\0i\0\0\0",
]


@pytest.mark.parametrize("entry", MALFORMED)
def test_what_an_oplog_cannot_hold_is_named(
    server: Server, tmp_path: Path, entry: Entry | bytes
) -> None:
    with pytest.raises(BackupDamagedError, match=r"of the oplog.* cannot be replayed"):
        replay(server, dump(tmp_path / "dump", entry), server.new_database())


REFUSED: list[Entry] = [
    {"op": "i", "ns": "app.c", "o": {}},
    {"op": "u", "ns": "app.c", "o": {"$v": 7}, "o2": {"_id": 1}},
    {"op": "d", "ns": "app.c", "o": {}},
    {**NAME, "o": {"collMod": "c", "nonsense": 1}},
    {**NAME, "o": {"nonsense": "c"}},
    {**NAME, "o": {"renameCollection": "app.c", "to": "app.d"}},
]


@pytest.mark.parametrize("entry", REFUSED)
def test_what_a_server_refuses_is_its_error(server: Server, tmp_path: Path, entry: Entry) -> None:
    with pytest.raises(ServerError):
        replay(server, dump(tmp_path / "dump", entry), server.new_database())


def test_the_command_line_names_the_entry(server: Server, tmp_path: Path, fastdump: Run) -> None:
    folder = dump(tmp_path / "dump", PLAIN, {"op": "?", "ns": "app.c", "o": {}})
    done = fastdump(
        "restore", folder, "--target-uri", server.uri, "--target-db", server.new_database(), "-y",
        "--oplog-replay",
    )  # fmt: skip
    assert done.code == 4
    assert "at 1700000000:2 cannot be replayed" in done.err
    assert "'?'" in done.err
    assert "--oplog-limit 1700000000:2" in done.err
    assert "Traceback" not in done.err
