"""Every backup of a bank that is open balances, and without consistency some do not."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fastdump
from fastdump import LoadOptions, ReadOptions
from fastdump.engine import planner
from tests import bank
from tests.conftest import Server

ROUNDS = int(os.environ.get("FASTDUMP_TEST_BANK_ROUNDS", "3"))
pytestmark = pytest.mark.timeout(60 + 20 * ROUNDS)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "CHUNK_BYTES", 300_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 100_000)
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)


@contextmanager
def opened(server: Server) -> Iterator[str]:
    name = server.new_database()
    with server.client() as client:
        bank.found(client[name])
        with bank.customers(server.uri, name):
            yield name
        client.drop_database(name)


@contextmanager
def comings_and_goings(server: Server, name: str) -> Iterator[None]:
    """Collections that are made and dropped, again and again.

    Not faster: for as long as the server keeps its history it keeps a file of each open, and ends
    when it has no descriptors left.
    """
    done = threading.Event()

    def run() -> None:
        number = 0
        with server.client() as client:
            while not done.wait(0.1):
                number += 1
                client[name][f"made{number}"].insert_one({"_id": number})
                client[name][f"made{number - 5}"].drop()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def restored(
    target: Server, folder: Path, path: Path | None = None, options: LoadOptions | None = None
) -> list[str]:
    """What is wrong with the newest backup, when it is restored into an empty database."""
    name = target.new_database()
    report = fastdump.restore(target.uri, target_db=name, folder=folder, name=path, options=options)
    assert report.complete, report.failures
    with target.client() as client:
        wrong = bank.errors(client[name])
        client.drop_database(name)
    return wrong


def test_none_is_not_of_one_moment(replica_set: Server, server: Server, tmp_path: Path) -> None:
    reading = ReadOptions(consistency="none", max_rate=10)
    with opened(replica_set) as name:
        for _round in range(20):
            fastdump.backup(replica_set.uri, db=name, folder=tmp_path, workers=2, reading=reading)
            if restored(server, tmp_path):
                return
    raise AssertionError("no backup was inconsistent: this bank proves nothing")


@pytest.mark.needs("snapshots")
def test_snapshots_balance(replica_set: Server, server: Server, tmp_path: Path) -> None:
    reading = ReadOptions(consistency="snapshot", max_rate=10)
    noted = set()
    with opened(replica_set) as name, comings_and_goings(replica_set, name):
        for _round in range(ROUNDS):
            report = fastdump.backup(
                replica_set.uri, db=name, folder=tmp_path, workers=2, reading=reading
            )
            assert report.consistency.mode == "snapshot"
            assert report.consistency.cluster_time is not None
            assert restored(server, tmp_path) == []
            noted |= {note.rpartition("while the server was read")[2] for note in report.notes}
    assert {", before its turn, and is left out", ", and is left out"} <= noted


def test_locked_it_balances(replica_set: Server, server: Server, tmp_path: Path) -> None:
    reading = ReadOptions(consistency="lock", max_rate=10)
    with opened(replica_set) as name, comings_and_goings(replica_set, name):
        for _round in range(ROUNDS):
            report = fastdump.backup(
                replica_set.uri, db=name, folder=tmp_path, workers=2, reading=reading
            )
            assert report.consistency.mode == "lock"
            assert restored(server, tmp_path) == []


@pytest.mark.parametrize(
    "consistency", [pytest.param("auto", marks=pytest.mark.needs("snapshots")), "lock"]
)
def test_copies_balance(replica_set: Server, server: Server, consistency: str) -> None:
    reading = ReadOptions(consistency=consistency, max_rate=10)
    with opened(replica_set) as name, comings_and_goings(replica_set, name):
        for _round in range(ROUNDS):
            target = server.new_database()
            report = fastdump.copy(
                replica_set.uri,
                server.uri,
                db=name,
                target_db=target,
                workers=2,
                reading=reading,
                collections=fastdump.CollectionFilter(exclude=["made*"]),
            )
            assert report.complete
            assert report.consistency.moment is not None
            with server.client() as client:
                assert bank.errors(client[target]) == []
                client.drop_database(target)


@pytest.mark.parametrize("layout", ["komodo", "mongodump", "archive"])
def test_replayed_it_balances(
    replica_set: Server, server: Server, tmp_path: Path, layout: str
) -> None:
    """Before the oplog is replayed, some of the backups do not."""
    reading = ReadOptions(consistency="oplog", max_rate=10)
    inconsistent = 0
    with opened(replica_set) as name, comings_and_goings(replica_set, name):
        for number in range(ROUNDS):
            out = tmp_path / f"{number}"
            report = fastdump.backup(
                replica_set.uri,
                db=name,
                workers=2,
                reading=reading,
                writing=fastdump.WriteOptions(out=out, layout=layout),
            )
            assert report.consistency.mode == "oplog"
            inconsistent += bool(restored(server, out, out))
            options = LoadOptions(oplog_replay=True)
            assert restored(server, out, out, options) == []
            assert fastdump.verify(out, name=out).intact
    assert inconsistent
