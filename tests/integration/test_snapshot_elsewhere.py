"""Servers that show no moment, pretend to, do not say for how long, or are behind the others."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

import fastdump as package
from benchmarks.shapes import insert
from fastdump import Consistency, ReadOptions
from fastdump.embedded import Mongod
from fastdump.engine import planner
from fastdump.engine.backup.worker import BackupWorker
from fastdump.errors import SnapshotUnavailableError, UsageError
from fastdump.mongo import snapshot
from tests.conftest import Run, Server, mongod_version
from tests.proxy import Document, Forward, WireProxy, refusal, without

DOCUMENTS = 2000
"""Of a kilobyte each."""
SNAPSHOT = ReadOptions(consistency="snapshot")


def fill(server: Server, *, capped: bool = True) -> str:
    """A database whose first collection by name is capped."""
    name = server.new_database()
    with server.client() as client:
        if capped:
            client[name].create_collection("a log", capped=True, size=10_000)
            client[name]["a log"].insert_one({"_id": 1})
    insert(server.connection, name, "c", ({"_id": n, "x": "x" * 1000} for n in range(DOCUMENTS)))
    return name


@pytest.fixture
def database(replica_set: Server) -> str:
    return fill(replica_set)


@pytest.fixture
def proxy(replica_set: Server) -> Iterator[WireProxy]:
    with WireProxy(replica_set.uri) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "CHUNK_BYTES", 100_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)


def as_mongos(proxy: WireProxy) -> None:
    """Have a member of a replica set look like a mongos."""
    proxy.around(
        "hello",
        lambda command, forward: {
            **without(forward(command), "setName", "hosts", "me", "primary"),
            "msg": "isdbgrid",
        },
    )
    proxy.refuse("getParameter", 72, "no option found to get")


def without_time(proxy: WireProxy) -> None:
    """Have the server not say its time."""
    proxy.around(
        "ping", lambda command, forward: without(forward(command), "operationTime", "$clusterTime")
    )


def ignoring_moments(proxy: WireProxy) -> None:
    """Have the server accept moments, and read what there is now."""
    proxy.around(
        "find", lambda command, forward: forward(without(command, "readConcern", "collectionUUID"))
    )


def is_of_a_moment(command: Document) -> bool:
    return "atClusterTime" in command.get("readConcern", {})


@pytest.mark.needs("snapshots")
def test_a_first_collection_that_is_capped(
    replica_set: Server, database: str, tmp_path: Path
) -> None:
    report = package.backup(replica_set.uri, db=database, folder=tmp_path)
    assert report.consistency.mode == "snapshot"
    assert report.consistency.exceptions == (f"{database}.a log",)
    (note,) = report.notes
    assert note.startswith(f"{database}.a log is capped")


@pytest.mark.needs("snapshots")
def test_nothing_that_can_be_shown(replica_set: Server, tmp_path: Path) -> None:
    name = replica_set.new_database()
    with replica_set.client() as client:
        client[name].create_collection("log", capped=True, size=10_000)
    report = package.backup(replica_set.uri, db=name, folder=tmp_path)
    assert report.consistency == Consistency("none")
    (note,) = report.notes
    assert "capped collections" in note
    assert "(code 246, SnapshotUnavailable)" in note
    with pytest.raises(SnapshotUnavailableError, match=f"cannot read {name}.log as it was"):
        package.backup(replica_set.uri, db=name, folder=tmp_path, reading=SNAPSHOT)


@pytest.mark.needs("snapshots")
def test_nothing_but_a_view(replica_set: Server, tmp_path: Path) -> None:
    name = replica_set.new_database()
    with replica_set.client() as client:
        client[name].command({"create": "view", "viewOn": "c", "pipeline": []})
    report = package.backup(replica_set.uri, db=name, folder=tmp_path)
    assert report.consistency.mode == "snapshot"


def test_a_standalone_gives_its_reason(fastdump: Run, server: Server, tmp_path: Path) -> None:
    name = fill(server)
    done = fastdump("backup", "--uri", server.uri, "--db", name, "-f", tmp_path)
    assert done.code == 0
    assert "not of one moment" in done.err
    # MongoDB 4.4 has snapshots in transactions only, so that a replica set would not help.
    reason, advice = "InvalidOptions", ""
    if mongod_version() >= (5,):
        reason, advice = "NotAReplicaSet", "; make it a replica set"
    assert f", {reason}){advice}" in done.err
    refused = fastdump(
        "backup", "--uri", server.uri, "--db", name, "-f", tmp_path, "--consistency", "snapshot"
    )
    assert (refused.code, f", {reason})" in refused.err) == (2, True)


@pytest.mark.needs("snapshots")
def test_a_server_that_ignores_moments(
    proxy: WireProxy, fastdump: Run, database: str, tmp_path: Path
) -> None:
    ignoring_moments(proxy)
    done = fastdump("backup", "--uri", proxy.uri, "--db", database, "-f", tmp_path)
    assert done.code == 0, done.err
    assert "it accepts any time, even one of 1970" in done.err
    (backup,) = package.list_backups(tmp_path)
    assert backup.consistency == Consistency("none")
    with pytest.raises(SnapshotUnavailableError, match="accepts any time"):
        package.backup(proxy.uri, db=database, folder=tmp_path, reading=SNAPSHOT)


@pytest.mark.parametrize("looks_like_mongos", [False, True])
@pytest.mark.parametrize(
    "ignores", [pytest.param(False, marks=pytest.mark.needs("snapshots")), True]
)
def test_a_server_that_does_not_say_its_time(
    proxy: WireProxy, database: str, tmp_path: Path, ignores: bool, looks_like_mongos: bool
) -> None:
    """DocumentDB says that it is a mongos, and ignores moments."""
    without_time(proxy)
    if ignores:
        ignoring_moments(proxy)
    if looks_like_mongos:
        as_mongos(proxy)
    report = package.backup(proxy.uri, db=database, folder=tmp_path)
    assert report.consistency == Consistency("none")
    said = "does not tell its time" if ignores else "(code 239, SnapshotTooOld)"
    assert said in report.notes[0]
    with pytest.raises(UsageError, match="--consistency snapshot is not possible"):
        package.backup(proxy.uri, db=database, folder=tmp_path, reading=SNAPSHOT)


def test_a_time_that_is_said_only_once(proxy: WireProxy, database: str, tmp_path: Path) -> None:
    said = [True]

    def ping(command: Document, forward: Forward) -> Document:
        reply = forward(command)
        return reply if said and said.pop() else without(reply, "operationTime")

    proxy.around("ping", ping)
    report = package.backup(proxy.uri, db=database, folder=tmp_path)
    assert report.consistency == Consistency("none")


def test_an_old_server(proxy: WireProxy, database: str, tmp_path: Path) -> None:
    for name in ("buildInfo", "buildinfo"):
        proxy.around(
            name,
            lambda command, forward: {
                **forward(command), "version": "5.0.4", "versionArray": [5, 0, 4, 0],
            },
        )  # fmt: skip
    report = package.backup(proxy.uri, db=database, folder=tmp_path)
    assert report.consistency == Consistency("none")
    assert "MongoDB 5.0.4 does not tell if a collection is dropped" in report.notes[0]


@pytest.mark.needs("snapshots")
def test_through_a_mongos(proxy: WireProxy, database: str, tmp_path: Path) -> None:
    as_mongos(proxy)
    report = package.backup(proxy.uri, db=database, folder=tmp_path)
    assert report.consistency.mode == "snapshot"
    assert report.server.topology == "sharded cluster"
    assert report.documents == DOCUMENTS + 1


@pytest.mark.needs("snapshots")
def test_a_history_that_nobody_knows(
    proxy: WireProxy, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls back before the history is lost."""
    as_mongos(proxy)
    monkeypatch.setattr(snapshot, "ASSUMED_SECONDS", 1)
    reading = ReadOptions(max_rate=1)
    report = package.backup(proxy.uri, db=database, folder=tmp_path, reading=reading)
    assert report.consistency == Consistency("none")
    assert "does not tell how long it keeps its history: 1 s are assumed" in report.notes[0]
    assert report.documents == DOCUMENTS + 1
    with pytest.raises(UsageError, match="needs a user who may read and set parameters"):
        package.backup(
            proxy.uri, db=database, folder=tmp_path,
            reading=ReadOptions(raise_snapshot_window=True),
        )  # fmt: skip


@pytest.mark.needs("snapshots")
@pytest.mark.parametrize(("code", "resume"), [(239, False), (250, True)])
def test_a_history_that_is_gone_half_way(
    proxy: WireProxy, database: str, tmp_path: Path, code: int, resume: bool
) -> None:
    left = [12]

    def find(command: Document, forward: Forward) -> Document:
        if is_of_a_moment(command):
            left[0] -= 1
            if left[0] < 0:
                return refusal(code, "the history is gone")
        return forward(command)

    proxy.around("find", find)
    report = package.backup(proxy.uri, db=database, folder=tmp_path, resume=resume)
    assert left[0] < 0
    assert report.consistency == Consistency("none")
    assert report.documents == DOCUMENTS + 1
    assert "no longer has the history" in report.notes[0]
    assert [one.name for one in package.list_backups(tmp_path)] == [report.name]
    left[0] = 12
    with pytest.raises(SnapshotUnavailableError, match="no longer has the history"):
        package.backup(proxy.uri, db=database, folder=tmp_path, reading=SNAPSHOT)


@pytest.mark.needs("snapshots")
def test_a_busy_server_is_asked_again(proxy: WireProxy, database: str, tmp_path: Path) -> None:
    """It is not taken for one that gives no snapshot, or does not say for how long."""
    busy = [True]

    def find(command: Document, forward: Forward) -> Document:
        if is_of_a_moment(command) and busy and busy.pop():
            return refusal(462, "too busy")
        return forward(command)

    proxy.around("find", find)
    proxy.refuse("ping", 462, "too busy", times=1)
    proxy.refuse("getParameter", 462, "too busy", times=1)
    reading = ReadOptions(consistency="snapshot", raise_snapshot_window=True)
    report = package.backup(proxy.uri, db=database, folder=tmp_path, reading=reading)
    assert report.consistency.mode == "snapshot"
    assert not busy


@pytest.mark.needs("snapshots")
def test_members_that_are_behind(
    proxy: WireProxy, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection leads to another mongos, which knows the time that it is told."""
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    clocks: defaultdict[int, Any] = defaultdict(lambda: None)
    refused = []

    def behind(command: Document, forward: Forward) -> Document:
        me = threading.get_ident()
        told = command.get("$clusterTime")
        if told is not None and (clocks[me] is None or told["clusterTime"] > clocks[me]):
            clocks[me] = told["clusterTime"]
        at = command.get("readConcern", {}).get("atClusterTime")
        if at is not None and (clocks[me] is None or at > clocks[me]):
            refused.append(at)
            return refusal(72, "readConcern atClusterTime value must not be greater than …")
        return forward(command)

    def time_of_its_own(command: Document, forward: Forward) -> Document:
        # What it does not know itself, it cannot tell a new client.
        return without(forward(command), "$clusterTime", "operationTime")

    as_mongos(proxy)
    proxy.around("find", behind)
    proxy.around("ping", behind)
    proxy.around("hello", time_of_its_own)
    report = package.backup(proxy.uri, db=database, folder=tmp_path, workers=2, reading=SNAPSHOT)
    assert report.workers == 2
    assert refused == []
    assert report.documents == DOCUMENTS + 1


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A replica set with users."""
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("secret\n")
    key.chmod(0o600)
    with Mongod(replica_set=True, arguments=["--keyFile", str(key)]) as mongod:
        with MongoClient[Document](mongod.uri) as client:
            client.admin.command("createUser", "root", pwd="pw", roles=["root"])
        server = Server(mongod.uri.replace("//", "//root:pw@"))
        with server.client() as client:
            roles = [{"role": "read", "db": "db"}]
            client.admin.command("createUser", "reader", pwd="pw", roles=roles)
        insert(server.connection, "db", "c", (
            {"_id": n, "x": "x" * 1000} for n in range(DOCUMENTS)))  # fmt: skip
        yield server


@pytest.mark.needs("snapshots")
def test_a_reader_without_further_rights(
    guarded: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history is shorter than the reader can know."""

    def forget(*_worker: object) -> None:
        with guarded.client() as client:
            client["elsewhere"]["c"].insert_one({})
        time.sleep(0.3)

    uri = guarded.uri.replace("root:", "reader:")
    report = package.backup(uri, db="db", folder=tmp_path)
    assert report.consistency.mode == "snapshot"
    with guarded.client() as client:
        client.admin.command({"setParameter": 1, snapshot.WINDOW: 1})
    monkeypatch.setattr(BackupWorker, "_wait", forget)
    report = package.backup(uri, db="db", folder=tmp_path)
    assert report.consistency == Consistency("none")
    assert report.documents == DOCUMENTS
    assert "no longer has the history" in report.notes[0]


def test_no_lock_through_a_mongos(
    proxy: WireProxy, fastdump: Run, database: str, tmp_path: Path
) -> None:
    as_mongos(proxy)
    done = fastdump(
        "backup", "--uri", proxy.uri, "--db", database, "-f", tmp_path, "--consistency", "lock"
    )
    assert done.code == 2
    assert "is a mongos" in done.err
    assert "--consistency snapshot" in done.err
    done = fastdump("unlock", "--uri", proxy.uri, "-y")
    assert (done.code, "is a mongos" in done.err) == (2, True)
    assert proxy.seen["fsync"] + proxy.seen["fsyncUnlock"] == 0
