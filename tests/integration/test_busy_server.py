"""Servers under load refuse now and then, and say that the same may succeed later."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump.config import described
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from fastdump.engine.verify.comparison import compare
from fastdump.errors import ServerError
from fastdump.layouts.dated_folders import DatedFolders
from fastdump.model import LoadOptions, ReadOptions
from fastdump.mongo import cursor
from fastdump.mongo.client import connect
from fastdump.mongo.replay import check_rights
from fastdump.progress import Silent
from tests.conftest import Server
from tests.proxy import Document, Forward, WireProxy, refusal

Refusal = tuple[int, str, list[str]]

OVERLOADED: Refusal = (462, "rate limit exceeded", ["SystemOverloadedError", "RetryableError"])
UNKNOWN: Refusal = (99999, "of a newer server", ["RetryableError"])
QUEUE: Refusal = (433, "the queue is full", [])

READING = (
    "listDatabases",
    "listCollections",
    "listIndexes",
    "collStats",
    "aggregate",
    "find",
    "getMore",
)
WRITING = ("create", "insert", "update", "createIndexes", "delete", "count")


@pytest.fixture(autouse=True)
def many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 300_000)
    monkeypatch.setattr(cursor, "BATCH_BYTES", 200_000)


@pytest.fixture
def proxy(any_server: Server) -> Iterator[WireProxy]:
    with WireProxy(any_server.uri) as proxy:
        yield proxy


class Busy:
    """Refuses some of the commands of those names: the first of each, and then at random.

    Of `find` fewer: bounds are looked for by a dozen in a row, which must all succeed.
    """

    def __init__(self, proxy: WireProxy, names: tuple[str, ...], how: Refusal) -> None:
        self.refused = Counter[str]()
        self._random = random.Random(5)
        self._lock = Lock()
        self._how = how
        for name in names:
            proxy.around(name, self._answer)

    def _answer(self, command: Document, forward: Forward) -> Document:
        name = next(iter(command))
        with self._lock:
            share = 0.03 if name == "find" else 0.1
            is_refused = not self.refused[name] or self._random.random() < share
            self.refused[name] += is_refused
        code, message, labels = self._how
        return refusal(code, message, *labels) if is_refused else forward(command)


def uri_of(proxy: WireProxy) -> str:
    """The driver does not try again by itself, so that fastdump must."""
    return f"{proxy.uri}&retryReads=false&retryWrites=false"


def filled(server: Server) -> str:
    database = server.new_database()
    documents = [{"_id": n, "n": n, "p": "x" * 1000} for n in range(3000)]
    insert(server.connection, database, "large", documents)
    insert(server.connection, database, "small", documents[:50])
    with server.client() as client:
        client[database]["large"].create_index("n")
    return database


@pytest.mark.parametrize("how", [OVERLOADED, UNKNOWN, QUEUE], ids=["labels", "label", "code"])
def test_a_busy_server(replica_set: Server, tmp_path: Path, how: Refusal) -> None:
    with WireProxy(replica_set.uri) as proxy:
        check_busy(proxy, replica_set, tmp_path, how)


def check_busy(proxy: WireProxy, server: Server, tmp_path: Path, how: Refusal) -> None:
    database, target = filled(server), server.new_database()
    busy = Busy(proxy, READING + WRITING, how)
    reading = ReadOptions(consistency="none")
    report = fastdump.backup(
        uri_of(proxy), db=database, folder=tmp_path, workers=2, reading=reading
    )
    assert report.interruptions >= 1
    expected = state(server.connection, database)
    for _time in range(2):
        restored = fastdump.restore(uri_of(proxy), target_db=target, folder=tmp_path, workers=2)
        assert (restored.complete, restored.documents) == (True, 3050)
        assert differences(expected, state(server.connection, target)) == []
        with server.client() as client:
            client[target]["large"].update_many({}, {"$set": {"n": -1}})
    assert {"listCollections", "find", "getMore", "create", "insert", "update"} <= {*busy.refused}


def test_a_busy_shard(proxy: WireProxy, any_server: Server, tmp_path: Path) -> None:
    """mongos answers for each document by itself; 189 is not for its document."""
    database, target = filled(any_server), any_server.new_database()
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    turns: list[int] = []

    def insert_some(command: Document, forward: Forward) -> Document:
        turns.append(len(command["documents"]))
        if len(turns) % 2:
            reply = forward({**command, "documents": command["documents"][::2]})
            errors = [
                {"index": place, "code": 189, "errmsg": "the primary stepped down"}
                for place in range(1, len(command["documents"]), 2)
            ]
            return {**reply, "writeErrors": errors}
        return forward(command)

    proxy.around("insert", insert_some)
    report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    assert (report.complete, report.rejected) == (True, 0)
    assert report.interruptions >= 1
    expected = state(any_server.connection, database)
    assert differences(expected, state(any_server.connection, target)) == []


@pytest.mark.needs("snapshots")
def test_a_member_that_is_behind(replica_set: Server, tmp_path: Path) -> None:
    """It has not heard of the moment that a snapshot is of: it does a moment later."""
    database, target = filled(replica_set), replica_set.new_database()
    told = Counter[str]()

    def find(command: Document, forward: Forward) -> Document:
        place = str(command.get("$_resumeAfter"))
        if "atClusterTime" not in command.get("readConcern", {}) or "limit" in command:
            return forward(command)
        told[place] += 1
        message = "readConcern atClusterTime value must not be greater than the current clusterTime"
        return refusal(72, message) if told[place] == 1 else forward(command)

    with WireProxy(replica_set.uri) as proxy:
        proxy.around("find", find)
        report = fastdump.backup(proxy.uri, db=database, folder=tmp_path)
    assert (report.consistency.mode, report.interruptions) == ("snapshot", len(told))
    assert len(told) > 1
    fastdump.restore(replica_set.uri, target_db=target, folder=tmp_path)
    one, other = (state(replica_set.connection, name) for name in (database, target))
    assert differences(one, other) == []


def test_other_refusals_are_the_end_at_once(
    proxy: WireProxy, any_server: Server, tmp_path: Path
) -> None:
    database = filled(any_server)
    proxy.refuse("find", 99999, "no", "SomeOtherLabel")
    with pytest.raises(ServerError, match="no"):
        fastdump.backup(proxy.uri, db=database, folder=tmp_path)


def test_counts_are_asked_for_again(any_server: Server, tmp_path: Path) -> None:
    database = filled(any_server)
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    with WireProxy(any_server.uri) as proxy:
        busy = Busy(proxy, ("listCollections", "count", "aggregate"), QUEUE)
        report = compare(
            described(uri_of(proxy)), database, DatedFolders(tmp_path), None,
            deep=False, workers=1, reporter=Silent(),
        )  # fmt: skip
    assert report.equal
    assert {"listCollections", "count"} <= {*busy.refused}


def test_the_right_to_replay_is_asked_for_again(replica_set: Server) -> None:
    with WireProxy(replica_set.uri) as proxy:
        busy = Busy(proxy, ("applyOps",), QUEUE)
        connection = described(uri_of(proxy))
        with connect(connection) as client:
            check_rights(client, connection)
    assert busy.refused["applyOps"]


@pytest.mark.parametrize("command", ["create", "insert", "createIndexes", "drop"])
def test_a_confirmation_that_is_interrupted_is_asked_for_again(
    any_server: Server, proxy: WireProxy, tmp_path: Path, command: str
) -> None:
    """As by a primary that steps down: the write was done, and nobody knows if it stays."""
    database, target = filled(any_server), any_server.new_database()
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    insert(any_server.connection, target, "large", [{"_id": "old"}])
    interrupted = Counter[str]()

    def first(request: Document, forward: Forward) -> Document:
        reply = forward(request)
        interrupted[command] += 1
        if interrupted[command] > 1:
            return reply
        error = {"code": 11602, "errmsg": "operation was interrupted"}
        return {**reply, "writeConcernError": error}

    proxy.around(command, first)
    report = fastdump.restore(
        proxy.uri, target_db=target, folder=tmp_path, options=LoadOptions(drop=True)
    )
    assert report.complete
    assert interrupted[command] > 1
    expected = state(any_server.connection, database)
    assert differences(expected, state(any_server.connection, target)) == []
