"""Servers under load refuse now and then, and say that the same may succeed later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from fastdump.errors import ServerError
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
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 300_000)


@pytest.fixture
def proxy(any_server: Server) -> Iterator[WireProxy]:
    with WireProxy(any_server.uri) as proxy:
        yield proxy


class Busy:
    """Refuses each other command of those names, of each connection's or not."""

    def __init__(self, proxy: WireProxy, names: tuple[str, ...], how: Refusal) -> None:
        self.refused = Counter[str]()
        self._turns = Counter[str]()
        self._lock = Lock()
        self._how = how
        for name in names:
            proxy.around(name, self._answer)

    def _answer(self, command: Document, forward: Forward) -> Document:
        name = next(iter(command))
        with self._lock:
            self._turns[name] += 1
            is_refused = self._turns[name] % 2 == 1
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
def test_a_busy_server(proxy: WireProxy, any_server: Server, tmp_path: Path, how: Refusal) -> None:
    database, target = filled(any_server), any_server.new_database()
    busy = Busy(proxy, READING + WRITING, how)
    report = fastdump.backup(uri_of(proxy), db=database, folder=tmp_path, workers=2)
    assert report.interruptions >= 3
    expected = state(any_server.connection, database)
    for _time in range(2):
        restored = fastdump.restore(uri_of(proxy), target_db=target, folder=tmp_path, workers=2)
        assert (restored.complete, restored.documents) == (True, 3050)
        assert differences(expected, state(any_server.connection, target)) == []
        with any_server.client() as client:
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
    assert report.interruptions >= 2
    expected = state(any_server.connection, database)
    assert differences(expected, state(any_server.connection, target)) == []


def test_other_refusals_are_the_end_at_once(
    proxy: WireProxy, any_server: Server, tmp_path: Path
) -> None:
    database = filled(any_server)
    proxy.refuse("find", 99999, "no", "SomeOtherLabel")
    with pytest.raises(ServerError, match="no"):
        fastdump.backup(proxy.uri, db=database, folder=tmp_path)
