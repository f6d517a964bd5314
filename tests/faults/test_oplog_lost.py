"""Following an oplog while servers go away: nothing of it is lost, or the backup is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import WriteConcern

import fastdump
from fastdump import LoadOptions, ReadOptions
from fastdump.engine import planner
from tests import bank
from tests.conftest import Mortal, Server, is_writing, replica_set_of, wait_until
from tests.faults.test_snapshot_fails import killed

pytestmark = pytest.mark.timeout(120)

OPLOG = ReadOptions(consistency="oplog", max_rate=0.5)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(planner, "CHUNK_BYTES", 300_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 100_000)


@pytest.fixture(scope="module")
def members() -> Iterator[list[Mortal]]:
    with replica_set_of(3, "bank") as found:
        with found[0].client() as client:
            bank.found(client["bank"])
            # So that it is on every member: MongoDB 4.4 waits for none but the primary.
            everywhere = client["bank"]["done"].with_options(write_concern=WriteConcern(w=3))
            everywhere.insert_one({"_id": 1})
        yield found


def uri_of(members: list[Mortal]) -> str:
    hosts = ",".join(one.address for one in members)
    return f"mongodb://{hosts}/?replicaSet=bank"


def balances(uri: str, folder: Path) -> bool:
    options = LoadOptions(oplog_replay=True)
    target = Server(uri).new_database()
    report = fastdump.restore(uri, target_db=target, folder=folder, options=options)
    assert report.complete, report.failures
    with Server(uri).client() as client:
        return bank.errors(client[target]) == []


def test_from_secondaries(members: list[Mortal], tmp_path: Path) -> None:
    uri = uri_of(members)
    reading = ReadOptions(consistency="oplog", max_rate=5)
    with bank.customers(uri, "bank"):
        for _round in range(3):
            fastdump.backup(
                fastdump.Server(uri, read_preference="secondary"),
                db="bank",
                folder=tmp_path,
                workers=2,
                reading=reading,
            )
            assert balances(uri, tmp_path)


def test_another_primary(members: list[Mortal], tmp_path: Path) -> None:
    uri = uri_of(members)
    done = threading.Event()

    def step_down() -> None:
        wait_until(lambda: is_writing(tmp_path), "the backup did not begin")
        with Server(uri).client() as client:
            client.admin.command({"replSetStepDown": 10, "force": True})
        done.set()

    with bank.customers(uri, "bank"):
        thread = threading.Thread(target=step_down)
        thread.start()
        report = fastdump.backup(uri, db="bank", folder=tmp_path, workers=2, reading=OPLOG)
        assert done.is_set()
        thread.join()
    assert report.seconds > 3
    assert balances(uri, tmp_path)


def test_a_primary_that_dies(members: list[Mortal], tmp_path: Path) -> None:
    uri = uri_of(members)

    with Server(uri).client() as client:
        client.admin.command("ping")
        host, port = client.primary or ("", 0)
    (primary,) = (one for one in members if one.address == f"{host}:{port}")

    def die() -> None:
        wait_until(lambda: is_writing(tmp_path), "the backup did not begin")
        primary.die()
        done.set()

    done = threading.Event()
    with bank.customers(uri, "bank"):
        thread = threading.Thread(target=die)
        thread.start()
        report = fastdump.backup(uri, db="bank", folder=tmp_path, workers=2, reading=OPLOG)
        assert done.is_set()
        thread.join()
    assert report.seconds > 3
    assert balances(uri, tmp_path)


def test_a_resumed_backup_has_the_whole_of_it(replica_set: Server, tmp_path: Path) -> None:
    name = replica_set.new_database()
    with replica_set.client() as client:
        bank.found(client[name])
        client[name]["ballast"].insert_many({"_id": n, "x": "x" * 10_000} for n in range(7000))
    arguments = ["--uri", replica_set.uri, "--db", name, "-f", str(tmp_path), "-y", "--resume",
                 "-j", "2", "--consistency", "oplog"]  # fmt: skip
    with bank.customers(replica_set.uri, name):
        since = killed(tmp_path, arguments)
        with replica_set.client() as client:
            counter = client[name]["counter"]
            before = counter.find_one()
            wait_until(lambda: counter.find_one() != before, "nothing was written meanwhile")
        report = fastdump.backup(
            replica_set.uri, db=name, folder=tmp_path, workers=2, resume=True,
            reading=ReadOptions(consistency="oplog"),
        )  # fmt: skip
    assert report.consistency.cluster_time is not None
    assert tuple(map(int, since.split(":"))) < report.consistency.cluster_time
    assert fastdump.verify(tmp_path).intact
    options = LoadOptions(oplog_replay=True)
    target = f"{name}_"
    assert fastdump.restore(
        replica_set.uri, target_db=target, folder=tmp_path, options=options
    ).complete
    with replica_set.client() as client:
        assert bank.errors(client[target]) == []
        for one in (name, target):
            client.drop_database(one)
