"""The server dies, restarts, steps down or drops its connections while documents move."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

import fastdump
from benchmarks.shapes import insert
from fastdump.config import described
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.engine import planner
from fastdump.engine.backup.run import backup
from fastdump.engine.restore.filters import Filters
from fastdump.engine.restore.planning import plan_restore
from fastdump.engine.restore.run import restore
from fastdump.engine.sessions import plain as reading_module
from fastdump.errors import ServerError
from fastdump.layouts.dated_folders import DatedFolders
from fastdump.model import Connection, LoadOptions, ReadOptions, Retention, Selection, WriteOptions
from fastdump.places import destination
from fastdump.progress import Silent
from tests.conftest import (
    Mortal,
    Run,
    Server,
    is_writing,
    listed,
    replica_set_of,
    wait_for_states,
    wait_until,
)

pytestmark = pytest.mark.timeout(180)

MEGABYTES = 60


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    with Mortal() as mongod:
        generate(described(mongod.uri), "db", MEGABYTES * 1_000_000)
        with mongod.client() as client:
            client.admin.command("fsync")
        yield mongod


@pytest.fixture(autouse=True)
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 2_000_000)


def patient(uri: str, seconds: float = 60) -> Connection:
    return replace(described(uri), retry_seconds=seconds)


def back_up(connection: Connection, folder: Path, rate: float, layout: str = "komodo") -> Any:
    out = folder / "archive" if layout == "archive" else None
    return backup(
        connection,
        Selection("db"),
        destination(folder, WriteOptions(layout=layout, out=out)),
        workers=2,
        retention=Retention(),
        how=ReadOptions(max_rate=rate),
        reporter=Silent(),
    )


def while_running(
    work: Callable[[], Any], fault: Callable[[], None], begun: Callable[[], bool]
) -> Any:
    """What the work returns, with the fault in the middle of it."""
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(work)
        wait_until(lambda: running.done() or begun(), "the work did not begin")
        if running.done():
            running.result()  # its error says more
            raise AssertionError("the work was over before the fault")
        fault()
        return running.result()


def die_and_rise(mongod: Mortal) -> Callable[[], None]:
    def fault() -> None:
        mongod.die()
        time.sleep(1)
        mongod.rise()

    return fault


@pytest.mark.parametrize("records", [True, False], ids=["by record", "by _id"])
@pytest.mark.parametrize("layout", ["komodo", "archive"])
def test_a_server_that_restarts(
    mortal: Mortal,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
    *,
    records: bool,
) -> None:
    """Each document is read once, though the cursor died in the middle of a chunk."""
    monkeypatch.setattr(reading_module, "has_own_records", lambda _client: records)
    connection = patient(mortal.uri)
    report = while_running(
        lambda: back_up(connection, tmp_path, MEGABYTES / 4, layout),
        die_and_rise(mortal),
        lambda: is_writing(tmp_path),
    )
    assert report.interruptions >= 1
    name = tmp_path / "archive" if layout == "archive" else None
    assert fastdump.verify(tmp_path, name=name).problems == ()
    target = server.new_database()
    restored = fastdump.restore(server.uri, target_db=target, folder=tmp_path, name=name)
    assert (restored.complete, restored.inserted) == (True, report.documents)
    expected = state(described(mortal.uri), "db")
    assert differences(expected, state(server.connection, target)) == []


@pytest.fixture(scope="module")
def backed_up(mortal: Mortal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backups")
    fastdump.backup(mortal.uri, db="db", folder=folder)
    return folder


def restore_into(connection: Connection, folder: Path, target: str) -> fastdump.RestoreReport:
    plan = plan_restore(
        connection,
        DatedFolders(folder),
        None,
        workers=2,
        how=LoadOptions(),
        filters=Filters(target),
    )
    return restore(plan, workers=2, reporter=Silent())


def test_a_target_that_restarts(mortal: Mortal, backed_up: Path) -> None:
    report = while_running(
        lambda: restore_into(patient(mortal.uri), backed_up, "restored"),
        die_and_rise(mortal),
        lambda: holds_documents(mortal, "restored"),
    )
    assert (report.complete, report.rejected) == (True, 0)
    connection = described(mortal.uri)
    assert differences(state(connection, "db"), state(connection, "restored")) == []


def test_a_server_that_does_not_come_back(fastdump: Run, server: Server, tmp_path: Path) -> None:
    with Mortal() as mongod:
        insert(described(mongod.uri), "db", "c", ({"_id": n, "x": "y" * 1000} for n in range(9000)))
        arguments = ("--uri", f"{mongod.uri}&serverSelectionTimeoutMS=500", "--db", "db")

        def die() -> None:
            wait_until(lambda: is_writing(tmp_path / "b"), "the backup did not begin")
            mongod.die()

        fault = threading.Thread(target=die)
        fault.start()
        done = fastdump(
            "backup", *arguments, "-f", tmp_path / "b", "--retry-for", 2, "--max-rate", 1
        )
        fault.join()
        assert done.code == 3
        assert "Traceback" not in done.err
        assert "no server answers" in done.err
        assert [path.name for path in listed(tmp_path / "b")] == []
        mongod.rise()


class Proxy:
    """A way to a server that can be cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                one, _address = self._listener.accept()
                other = socket.create_connection(("127.0.0.1", self._target))
                self._open += [one, other]
                for pair in ((one, other), (other, one)):
                    threading.Thread(target=_pass, args=pair, daemon=True).start()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cut_often(proxy: Proxy, every: float, begun: Callable[[], bool]) -> Iterator[None]:
    """Not before the work has begun: what cannot be reached at first is given up."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(every):
            if begun():
                proxy.cut()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def names(mongod: Mortal) -> list[str]:
    with mongod.client() as client:
        return client.list_database_names()


def holds_documents(mongod: Mortal, name: str) -> bool:
    with mongod.client() as client:
        return client[name]["Stats"].estimated_document_count() > 0


def test_connections_that_are_cut_again_and_again(
    mortal: Mortal, server: Server, tmp_path: Path
) -> None:
    proxy = Proxy(mortal.port)
    connection = patient(f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true")
    with cut_often(proxy, 0.05, lambda: any(tmp_path.glob(".*.partial/*.0*"))):
        report = back_up(connection, tmp_path, 1000)
    with cut_often(proxy, 0.3, lambda: "through" in names(mortal)):
        restored = restore_into(connection, tmp_path, "through")
    proxy.close()
    # What is cut while nothing is on its way, the driver mends by itself.
    assert report.interruptions + restored.interruptions >= 1
    assert restored.complete
    assert restored.documents == report.documents
    own = described(mortal.uri)
    assert differences(state(own, "db"), state(own, "through")) == []


@pytest.fixture(scope="module")
def three() -> Iterator[list[Mortal]]:
    with replica_set_of(3, "lost") as found:
        yield found


def uri_of(mongods: list[Mortal]) -> str:
    return f"mongodb://{','.join(one.address for one in mongods)}/?replicaSet=lost"


def test_a_primary_that_steps_down_or_dies(
    three: list[Mortal], server: Server, tmp_path: Path
) -> None:
    """Nothing that was acknowledged is lost, and reading goes on at another member."""
    uri = uri_of(three)
    generate(described(f"{uri}&w=3"), "db", MEGABYTES * 1_000_000)

    def step_down() -> None:
        with three[0].client() as client, suppress(Exception):
            client.admin.command({"replSetStepDown": 10, "force": True})

    report = while_running(
        lambda: back_up(patient(uri), tmp_path, MEGABYTES / 4),
        step_down,
        lambda: is_writing(tmp_path),
    )
    assert fastdump.verify(tmp_path).problems == ()
    target = server.new_database()
    fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    expected = state(described(uri), "db")
    assert differences(expected, state(server.connection, target)) == []

    with MongoClient[dict[str, Any]](uri) as client:
        wait_for_states(client, {"PRIMARY": 1, "SECONDARY": 2})
        primary = client.admin.command("hello")["me"]
    (dying,) = (one for one in three if one.address == primary)
    restored = while_running(
        lambda: restore_into(patient(uri), tmp_path, "again"),
        dying.die,
        lambda: holds_documents(dying, "again"),
    )
    assert restored.complete
    assert restored.documents == report.documents
    assert differences(expected, state(described(uri), "again")) == []
    dying.rise()


def test_a_set_that_has_no_primary_yet(
    three: list[Mortal], backed_up: Path, tmp_path: Path
) -> None:
    """What begins during an election waits for its end, for longer than for a wrong address."""
    uri = uri_of(three)
    with MongoClient[dict[str, Any]](uri) as client:
        wait_for_states(client, {"PRIMARY": 1, "SECONDARY": 2})
        primary = client.admin.command("hello")["me"]
    (leaving,) = (one for one in three if one.address == primary)
    for other in three:
        if other is not leaving:
            with other.client() as client:
                client.admin.command({"replSetFreeze": 20})
    with leaving.client() as client, suppress(Exception):
        client.admin.command({"replSetStepDown": 20, "force": True})
    report = restore_into(patient(uri), backed_up, "waited")
    assert report.complete
    fastdump.backup(uri, db="waited", folder=tmp_path)


def test_no_patience(mortal: Mortal, tmp_path: Path) -> None:
    with pytest.raises(ServerError):
        while_running(
            lambda: back_up(patient(mortal.uri, 0), tmp_path, MEGABYTES / 4),
            die_and_rise(mortal),
            lambda: is_writing(tmp_path),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_is_killed_at_once_has_what_was_restored(tmp_path: Path) -> None:
    """What is called done is in the server's journal, and not only in its memory."""
    with Mortal() as mongod:
        with mongod.client() as client:
            for name in "abc":
                client["db"].create_collection(name, collation={"locale": "de"})
                client["db"][name].insert_one({"_id": 1})
                client["db"][name].create_index("x")
            client["db"].create_collection("empty", capped=True, size=4096)
            client["db"].create_collection("view", viewOn="a", pipeline=[])  # the last to be made
        fastdump.backup(mongod.uri, db="db", folder=tmp_path)
        report = fastdump.restore(mongod.uri, target_db="restored", folder=tmp_path)
        mongod.die()
        assert report.complete
        mongod.rise()
        connection = described(mongod.uri)
        assert differences(state(connection, "db"), state(connection, "restored")) == []
