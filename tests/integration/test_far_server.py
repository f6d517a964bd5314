"""A server that is far away: several requests are under way at a time, to the same result."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from tests.conftest import COMMAND_SECONDS, Server, command, environment, wait_until
from tests.proxy import Around, Document, Forward, WireProxy

pytestmark = pytest.mark.timeout(120)

ROUND_TRIP_SECONDS = 0.06


class FarServer(WireProxy):
    """A proxy that delays answers, and counts how many requests are under way at a time."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.most: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._counting = threading.Lock()
        for name in ("ping", "find", "getMore", "listIndexes", "insert", "create"):
            self.around(name, self._delayed(name))

    def _delayed(self, name: str) -> Around:
        def answer(command: Document, forward: Forward) -> Document:
            with self._counting:
                self._under_way[name] += 1
                self.most[name] = max(self.most[name], self._under_way[name])
            time.sleep(ROUND_TRIP_SECONDS)
            try:
                return forward(command)
            finally:
                with self._counting:
                    self._under_way[name] -= 1

        return answer


@pytest.fixture
def far(server: Server) -> Iterator[FarServer]:
    with FarServer(server.uri) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    insert(
        server.connection, name, "large", ({"_id": n, "x": os.urandom(900)} for n in range(30_000))
    )
    for number in range(30):
        insert(server.connection, name, f"small{number}", [{"_id": number}])
    with server.client() as client:
        client[name]["small1"].create_index("x")
    return name


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 1_500_000)


@pytest.mark.parametrize("layout", ["komodo", "archive", "repository"])
def test_a_backup_keeps_several_requests_under_way(
    server: Server, far: FarServer, database: str, tmp_path: Path, layout: str
) -> None:
    out = tmp_path / "archive" if layout == "archive" else None
    how = fastdump.WriteOptions(layout=layout, out=out)
    report = fastdump.backup(far.uri, db=database, folder=tmp_path, writing=how, workers=1)
    assert report.documents == 30_030
    assert far.most["listIndexes"] > 4
    if layout != "repository":  # whose pieces would take much memory
        assert far.most["getMore"] > 4
    target = server.new_database()
    fastdump.restore(server.uri, target_db=target, folder=tmp_path, name=out)
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_a_restore_keeps_several_requests_under_way(
    server: Server, far: FarServer, database: str, tmp_path: Path
) -> None:
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    target = server.new_database()
    report = fastdump.restore(far.uri, target_db=target, folder=tmp_path, workers=1)
    assert report.complete
    assert far.most["insert"] > 4
    assert far.most["create"] > 4
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_a_copy_keeps_several_requests_under_way(
    server: Server, far: FarServer, database: str
) -> None:
    target = server.new_database()
    report = fastdump.copy(far.uri, server.uri, db=database, target_db=target, workers=1)
    assert report.complete
    assert far.most["getMore"] > 4
    assert differences(state(server.connection, database), state(server.connection, target)) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupt_closes_all_cursors(
    server: Server, far: FarServer, tmp_path: Path, workers: str
) -> None:
    name = server.new_database()
    insert(server.connection, name, "c", ({"_id": n, "x": os.urandom(900)} for n in range(150_000)))
    before = cursors(server)
    arguments = ("--uri", far.uri, "--db", name, "-f", tmp_path, "-j", workers)
    backup = subprocess.Popen(
        command("backup", *arguments, "--max-rate", "4"), env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: cursors(server) > before + 4, "few cursors were opened")
    backup.send_signal(signal.SIGTERM)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err
    wait_until(lambda: cursors(server) <= before, "a cursor was left open")


def cursors(server: Server) -> int:
    with server.client() as client:
        return int(client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"])
