"""The server's history: too short, raised, put back, gone half way, and what changes meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastdump as package
from benchmarks.shapes import insert
from fastdump import ReadOptions
from fastdump.embedded import Mongod
from fastdump.engine import planner
from fastdump.engine.backup.worker import BackupWorker
from fastdump.engine.sessions.plain import ReadContext
from fastdump.engine.sessions.snapshot import SnapshotSession
from fastdump.errors import ServerError, SnapshotUnavailableError
from fastdump.model import ClusterTime, Selection
from fastdump.mongo import snapshot
from fastdump.mongo.client import Client
from fastdump.mongo.snapshot import WINDOW
from fastdump.progress import Silent
from tests import bank
from tests.conftest import COMMAND_SECONDS, Run, Server, command, environment, replica_set_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs("snapshots")]

DOCUMENTS = 3000
"""Of a kilobyte each."""


@pytest.fixture(scope="module")
def short_history() -> Iterator[Server]:
    """A replica set whose history the tests of this file may shorten."""
    with Mongod(replica_set=True) as mongod:
        yield Server(mongod.uri)


@pytest.fixture
def database(short_history: Server) -> str:
    name = short_history.new_database()
    for collection in ("a", "b", "c"):
        documents = ({"_id": n, "x": "x" * 1000} for n in range(DOCUMENTS // 3))
        insert(short_history.connection, name, collection, documents)
    return name


def window(server: Server, seconds: int | None = None) -> int:
    with server.client() as client:
        if seconds is not None:
            client.admin.command({"setParameter": 1, WINDOW: seconds})
        return int(client.admin.command({"getParameter": 1, WINDOW: 1})[WINDOW])


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[float]:
    """Have each batch take so long, without anybody knowing beforehand; returns when each came."""
    times: list[float] = []

    def wait(*_worker: object) -> None:
        times.append(time.monotonic())
        time.sleep(seconds)

    monkeypatch.setattr(BackupWorker, "_wait", wait)
    return times


def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "CHUNK_BYTES", 100_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)


def test_too_short_from_the_beginning(
    fastdump: Run, short_history: Server, database: str, tmp_path: Path
) -> None:
    window(short_history, 2)
    arguments = ("backup", "--uri", short_history.uri, "--db", database, "-f", tmp_path / "f",
                 "--max-rate", "0.5", "--consistency", "snapshot")  # fmt: skip
    done = fastdump(*arguments)
    assert done.code == 3
    for said in ("about 6 s", "for only 2 s", "--raise-snapshot-window", "--consistency oplog"):
        assert said in done.err
    assert not (tmp_path / "f").exists()
    assert window(short_history) == 2


def test_too_short_by_what_is_read(
    short_history: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window(short_history, 5)
    batches = slowly(monkeypatch, 0.3)
    many_chunks(monkeypatch)
    reading = ReadOptions(consistency="snapshot")
    with pytest.raises(SnapshotUnavailableError, match="for only 5 s"):
        package.backup(short_history.uri, db=database, folder=tmp_path, reading=reading)
    assert 0 < len(batches) < 10, "it was not known in time"
    assert list(tmp_path.iterdir()) == []


def test_auto_does_without(
    short_history: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window(short_history, 5)
    slowly(monkeypatch, 0.1)
    many_chunks(monkeypatch)
    monkeypatch.setattr("fastdump.engine.sessions.snapshot._DOUBT", 0.1)
    report = package.backup(short_history.uri, db=database, folder=tmp_path)
    assert report.consistency == package.Consistency("none")
    assert report.documents == DOCUMENTS
    assert "not of one moment" in report.notes[0]
    (listed,) = package.list_backups(tmp_path)
    assert str(listed.consistency) == "none"


def test_raised_and_put_back(
    short_history: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window(short_history, 2)
    seen = []
    monkeypatch.setattr(BackupWorker, "_wait", lambda *_: seen.append(window(short_history)))
    reading = ReadOptions(consistency="snapshot", raise_snapshot_window=True, max_rate=1)
    report = package.backup(short_history.uri, db=database, folder=tmp_path, reading=reading)
    assert report.consistency.mode == "snapshot"
    assert min(seen) >= 6
    assert window(short_history) == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_put_back_when_interrupted(
    short_history: Server, database: str, tmp_path: Path, number: int, code: int
) -> None:
    window(short_history, 2)
    backup = subprocess.Popen(
        command("backup", "--uri", short_history.uri, "--db", database, "-f", tmp_path, "-y",
                "--max-rate", "0.2", "--raise-snapshot-window"),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + COMMAND_SECONDS
    while window(short_history) == 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(backup.pid, number)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == code
    assert f"db.adminCommand({{setParameter: 1, {WINDOW}: 2}})" in err
    assert window(short_history) == 2


def test_history_that_is_gone_half_way(
    short_history: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is called a backup."""
    window(short_history, 300)
    many_chunks(monkeypatch)

    def forget(*_worker: object) -> None:
        window(short_history, 1)
        with short_history.client() as client:
            client["elsewhere"]["c"].insert_one({})
        time.sleep(0.2)

    monkeypatch.setattr(BackupWorker, "_wait", forget)
    reading = ReadOptions(consistency="snapshot")
    with pytest.raises(ServerError, match=r"no longer has the history .* --consistency oplog"):
        package.backup(short_history.uri, db=database, folder=tmp_path, reading=reading)
    assert package.list_backups(tmp_path) == []
    window(short_history, 300)
    report = package.backup(short_history.uri, db=database, folder=tmp_path)
    assert report.consistency == package.Consistency("none")
    assert report.documents == DOCUMENTS
    assert "no longer has the history" in report.notes[0]


@pytest.mark.parametrize("change", ["dropped", "dropped and created again"])
def test_dropped_before_it_is_read(
    short_history: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    window(short_history, 300)
    with changing(short_history, monkeypatch, database, again=change.endswith("again")):
        report = package.backup(short_history.uri, db=database, folder=tmp_path)
    assert [found.name for found in report.collections] == ["a", "b"]
    assert report.notes == (
        f"{database}.c was {change} while the server was read, before its turn, and is left out",
    )
    assert package.verify(tmp_path).intact
    (listed,) = package.list_backups(tmp_path)
    assert [found.name for found in listed.collections] == ["a", "b"]


def test_in_an_archive_it_is_the_end(
    short_history: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window(short_history, 300)
    with (
        changing(short_history, monkeypatch, database),
        pytest.raises(ServerError, match=r"c was dropped .* archive"),
    ):
        package.backup(
            short_history.uri,
            db=database,
            writing=package.WriteOptions(layout="archive", out=tmp_path / "archive"),
        )
    assert not (tmp_path / "archive").exists()


def test_renamed_before_it_is_read(
    short_history: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window(short_history, 300)
    with (
        changing(short_history, monkeypatch, database, rename=True),
        pytest.raises(ServerError, match=f"renamed to {database}.z"),
    ):
        package.backup(short_history.uri, db=database, folder=tmp_path)
    assert package.list_backups(tmp_path) == []


class changing:  # noqa: N801 - reads as what it does
    """Within, collection `c` is dropped or renamed when `a` was read."""

    def __init__(
        self,
        server: Server,
        monkeypatch: pytest.MonkeyPatch,
        database: str,
        *,
        again: bool = False,
        rename: bool = False,
    ) -> None:
        self._server, self._database = server, database
        self._again, self._rename = again, rename
        self._changed = False
        monkeypatch.setattr(BackupWorker, "_wait", lambda *_: self._change())

    def _change(self) -> None:
        if self._changed:
            return
        self._changed = True
        with self._server.client() as client:
            found = client[self._database]["c"]
            if self._rename:
                found.rename("z")
            else:
                found.drop()
            if self._again:
                found.insert_one({"_id": "another"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_error: object) -> None:
        assert self._changed


def test_a_capped_collection_is_told_apart(
    fastdump: Run, short_history: Server, database: str, tmp_path: Path
) -> None:
    """Servers before 8.0 do not show what capped collections held."""
    window(short_history, 300)
    with short_history.client() as client:
        client[database].create_collection("log", capped=True, size=10_000)
        client[database]["log"].insert_one({"_id": 1})
    done = fastdump("backup", "--uri", short_history.uri, "--db", database, "-f", tmp_path)
    assert done.code == 0
    assert f"{database}.log is capped" in done.err
    assert f"except {database}.log" in done.out
    manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
    assert manifest["exceptions"] == [f"{database}.log"]
    listed = fastdump("list", "-f", tmp_path)
    assert "but for 1" in listed.out


def test_a_resumed_snapshot_is_of_the_first_moment(short_history: Server, tmp_path: Path) -> None:
    window(short_history, 300)
    name = short_history.new_database()
    with short_history.client() as client:
        bank.found(client[name])
    insert(short_history.connection, name, "ballast",
           ({"_id": n, "x": "x" * 10_000} for n in range(7000)))  # fmt: skip
    arguments = ["--uri", short_history.uri, "--db", name, "-f", str(tmp_path), "-y", "--resume",
                 "-j", "2"]  # fmt: skip
    with bank.customers(short_history.uri, name):
        moment = killed(tmp_path, arguments)
        report = package.backup(short_history.uri, db=name, folder=tmp_path, workers=2, resume=True)
    assert report.consistency.cluster_time is not None
    assert str(report.consistency.cluster_time) == moment
    assert package.restore(short_history.uri, target_db=f"{name}_", folder=tmp_path).complete
    with short_history.client() as client:
        assert bank.errors(client[f"{name}_"]) == []


def test_a_snapshot_that_is_too_old_is_begun_anew(short_history: Server, tmp_path: Path) -> None:
    window(short_history, 300)
    name = short_history.new_database()
    insert(short_history.connection, name, "ballast",
           ({"_id": n, "x": "x" * 10_000} for n in range(7000)))  # fmt: skip
    arguments = ["--uri", short_history.uri, "--db", name, "-f", str(tmp_path), "-y", "--resume",
                 "-j", "2"]  # fmt: skip
    moment = killed(tmp_path, arguments)
    window(short_history, 1)
    with short_history.client() as client:
        for _turn in range(80):
            client["elsewhere"]["c"].insert_one({})
            time.sleep(0.05)
    window(short_history, 300)
    report = package.backup(short_history.uri, db=name, folder=tmp_path, workers=2, resume=True)
    assert report.consistency.mode == "snapshot"
    assert str(report.consistency.cluster_time) != moment


def killed(folder: Path, arguments: list[str]) -> str:
    """The moment that a backup planned, which was killed half way."""
    backup = subprocess.Popen(
        command("backup", *arguments, "--max-rate", "20"), env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + COMMAND_SECONDS
    while time.monotonic() < deadline:
        journals = list(folder.glob(".*.partial/journal"))
        if journals and journals[0].read_bytes().count(b"\n") > 3:
            break
        time.sleep(0.02)
    os.kill(backup.pid, signal.SIGKILL)
    backup.wait()
    planned = json.loads(journals[0].read_bytes().splitlines()[0].partition(b" ")[2])
    seconds, increment = planned["at"]
    return f"{seconds}:{increment}"


def test_from_secondaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two members share the reading, each behind the primary in its own way."""
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    many_chunks(monkeypatch)
    with replica_set_of(3, "bank", steady=True) as members:
        uri = f"mongodb://{members[0].address}/?replicaSet=bank&directConnection=false"
        with members[0].client() as client:
            bank.found(client["bank"])
        with bank.customers(members[0].uri, "bank"):
            for number in range(3):
                report = package.backup(
                    package.Server(uri, read_preference="secondary"),
                    db="bank",
                    folder=tmp_path,
                    workers=2,
                    reading=ReadOptions(consistency="snapshot", max_rate=10),
                )
                assert report.consistency.mode == "snapshot"
                target = f"restored{number}"
                assert package.restore(members[0].uri, target_db=target, folder=tmp_path).complete
                with members[0].client() as client:
                    assert bank.errors(client[target]) == []


def test_a_resumed_one_counts_from_its_own_beginning(
    short_history: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first run took does not say how fast this one reads."""
    window(short_history, 300)
    selection, reporter = Selection(database), Silent()
    readers = [short_history.connection]
    passed = 0.0
    clock, now = time.monotonic, snapshot.now

    def later(client: Client) -> ClusterTime:
        found = now(client)
        return found._replace(seconds=found.seconds + round(passed))

    monkeypatch.setattr(snapshot, "now", later)
    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed)
    with short_history.client() as client:
        context = ReadContext(client, readers, selection, 1, reporter)
        how = ReadOptions(consistency="snapshot")
        first, second = SnapshotSession(context, how), SnapshotSession(context, how)
        catalog, _chunks = first.plan()
        passed = 100.0
        assert second.resumes(first.at, catalog)
        second.expected = 1_000_000
        second.check(1, 1_000)  # at once: that says nothing yet
        passed += 20
        second.check(500, 500_000)
        with pytest.raises(SnapshotUnavailableError, match=r"about [23],"):
            second.check(10, 10_000)
