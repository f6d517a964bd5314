"""A locked server: what is read is of one moment, and whatever happens, it is unlocked again."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import fastdump as package
from benchmarks.shapes import insert
from fastdump import ReadOptions
from fastdump.engine import planner
from fastdump.errors import ServerError, StorageError, UsageError
from fastdump.mongo import fsync_lock
from tests.conftest import (
    COMMAND_SECONDS,
    Mortal,
    Run,
    Server,
    command,
    environment,
    is_writing,
    replica_set_of,
    wait_until,
)

pytestmark = pytest.mark.timeout(120)

NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    with Mortal() as mongod:
        yield mongod


@pytest.fixture
def alone(mortal: Mortal) -> Iterator[Server]:
    """A standalone that nobody else uses; it must not be left locked."""
    server = Server(mortal.uri)
    yield server
    wait_until_unlocked(server)


@pytest.fixture
def database(alone: Server) -> str:
    name = alone.new_database()
    for collection in NAMES:
        insert(alone.connection, name, collection,
               ({"_id": n, "x": "x" * 1000} for n in range(500)))  # fmt: skip
        insert(alone.connection, name, collection, [{"_id": "last", "n": 0}])
    return name


def is_locked(server: Server) -> bool:
    with server.client() as client:
        return fsync_lock.is_locked(client)


def wait_until_unlocked(server: Server) -> None:
    wait_until(lambda: not is_locked(server), "it is still locked")


def wait_until_locked(server: Server) -> None:
    wait_until(lambda: is_locked(server), "it was never locked")


@contextmanager
def writing(server: Server, name: str) -> Iterator[None]:
    """One client that counts up in one collection after another."""
    done = threading.Event()

    def run() -> None:
        number = 0
        with server.client() as client:
            while not done.is_set():
                number += 1
                for collection in NAMES:
                    client[name][collection].update_one({"_id": "last"}, {"$set": {"n": number}})

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def numbers(server: Server, name: str) -> list[int]:
    with server.client() as client:
        return [client[name][one].find_one({"_id": "last"})["n"] for one in NAMES]  # type: ignore[index]


def is_of_one_moment(counted: list[int]) -> bool:
    return counted == sorted(counted, reverse=True) and counted[0] - counted[-1] <= 1


@pytest.mark.parametrize("mode", ["lock", "none"])
def test_a_standalone_of_one_moment(
    alone: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    found = []
    with writing(alone, database):
        for number in range(3):
            time.sleep(0.1)
            report = package.backup(
                alone.uri, db=database, folder=tmp_path, workers=2,
                reading=ReadOptions(consistency=mode, max_rate=5),
            )  # fmt: skip
            assert not is_locked(alone)
            with alone.client() as client:
                assert fsync_lock.holders(client) == []
            assert report.consistency.mode == mode
            assert (report.consistency.moment is None) is (mode == "none")
            target = f"{database}{number}"
            assert package.restore(alone.uri, target_db=target, folder=tmp_path).complete
            found.append(is_of_one_moment(numbers(alone, target)))
    if mode == "lock":
        assert found == [True] * 3
    else:
        assert False in found, "no backup was inconsistent: this proves nothing"


def start(server: Server, database: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    backup = subprocess.Popen(
        command("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y",
                "--consistency", "lock", "--max-rate", "0.2", *more),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until_locked(server)
    return backup


def twice(backup: subprocess.Popen[str]) -> None:
    backup.send_signal(signal.SIGINT)
    backup.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "end",
    [
        lambda backup: backup.send_signal(signal.SIGINT),
        twice,
        lambda backup: backup.send_signal(signal.SIGTERM),
        lambda backup: backup.kill(),
    ],
    ids=["interrupted", "interrupted twice", "terminated", "killed"],
)
def test_unlocked_when_it_ends(
    alone: Server, database: str, tmp_path: Path, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    backup = start(alone, database, tmp_path)
    time.sleep(0.3)
    end(backup)
    backup.communicate(timeout=COMMAND_SECONDS)
    wait_until_unlocked(alone)
    assert package.list_backups(tmp_path) == []


def test_unlocked_when_it_fails(alone: Server, database: str) -> None:
    with pytest.raises(StorageError):
        package.backup(
            alone.uri, db=database, folder="/proc/no", reading=ReadOptions(consistency="lock")
        )
    wait_until_unlocked(alone)


def kill_all(backup: subprocess.Popen[str]) -> None:
    """Nobody is left to unlock, as after a loss of power.

    All are stopped before the first is killed, so that nobody sees another's end and unlocks.
    """
    coordinator = psutil.Process(backup.pid)
    everybody = (coordinator, *coordinator.children(recursive=True))
    for process in everybody:
        process.suspend()
    for process in everybody:
        process.kill()
    backup.communicate(timeout=COMMAND_SECONDS)


def test_the_next_run_unlocks(fastdump: Run, alone: Server, database: str, tmp_path: Path) -> None:
    kill_all(start(alone, database, tmp_path))
    assert is_locked(alone)
    done = fastdump("backup", "--uri", alone.uri, "--db", database, "-f", tmp_path)
    assert done.code == 0, done.err
    assert "still locked by a backup that was killed" in done.err
    assert not is_locked(alone)


def test_unlock_by_hand(fastdump: Run, alone: Server, database: str, tmp_path: Path) -> None:
    unlock = ("unlock", "--uri", alone.uri)
    assert "is not locked" in fastdump(*unlock).out
    kill_all(start(alone, database, tmp_path))
    done = fastdump(*unlock)
    assert (done.code, is_locked(alone)) == (0, False)
    with alone.client() as client:
        client.admin.command({"fsync": 1, "lock": True})
        refused = fastdump(*unlock)
        assert (refused.code, is_locked(alone)) == (2, True)
        assert "Somebody else locked" in refused.err
        assert fastdump(*unlock, "-y").code == 0
        assert not is_locked(alone)


def test_of_a_run_that_goes_on_it_asks(
    fastdump: Run, alone: Server, database: str, tmp_path: Path
) -> None:
    """And a run whose lock is taken away does not call its backup consistent."""
    backup = start(alone, database, tmp_path, "--max-rate", "0.5")
    refused = fastdump("unlock", "--uri", alone.uri)
    assert (refused.code, is_locked(alone)) == (2, True)
    assert "A running backup keeps" in refused.err
    other = fastdump("backup", "--uri", alone.uri, "--db", database, "-f", tmp_path / "other")
    assert (other.code, is_locked(alone)) == (0, True)
    assert fastdump("unlock", "--uri", alone.uri, "-y").code == 0
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 3
    assert "unlocked by somebody else" in err
    assert package.list_backups(tmp_path) == []


def test_given_up_rather_than_held_too_long(alone: Server, database: str, tmp_path: Path) -> None:
    backup = start(alone, database, tmp_path, "--max-lock-seconds", "1")
    wait_until_unlocked(alone)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 3
    assert "locked for 1 s, which is the limit" in err
    assert package.list_backups(tmp_path) == []


def test_a_guard_that_is_killed(alone: Server, database: str, tmp_path: Path) -> None:
    backup = start(alone, database, tmp_path)
    for process in psutil.Process(backup.pid).children(recursive=True):
        connected = {one.raddr for one in process.net_connections() if one.raddr}
        if connected:
            process.kill()
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 3
    assert "was killed" in err
    assert not is_locked(alone)


def test_a_server_that_restarts(
    mortal: Mortal, alone: Server, database: str, tmp_path: Path
) -> None:
    backup = start(alone, database, tmp_path, "--max-rate", "0.5")
    wait_until(lambda: is_writing(tmp_path), "it does not read")
    mortal.die()
    mortal.rise()
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 3
    assert "or restarted" in err
    assert package.list_backups(tmp_path) == []


def test_several_servers_cannot_be_locked(tmp_path: Path) -> None:
    with replica_set_of(2, "pair", steady=True) as members:
        uri = f"mongodb://{members[0].address}/?replicaSet=pair"
        with members[0].client() as client:
            client["db"]["c"].insert_one({})
        with pytest.raises(UsageError, match="it locks one server"):
            package.backup(
                package.Server(uri, read_preference="nearest"),
                db="db",
                folder=tmp_path,
                reading=ReadOptions(consistency="lock"),
            )
        report = package.backup(
            uri, db="db", folder=tmp_path, reading=ReadOptions(consistency="lock")
        )
        assert report.consistency.mode == "lock"


def test_nothing_to_lock_for(alone: Server, tmp_path: Path) -> None:
    with pytest.raises((ServerError, UsageError), match="no database"):
        package.backup(
            alone.uri, db="nowhere", folder=tmp_path, reading=ReadOptions(consistency="lock")
        )
    assert list(tmp_path.iterdir()) == []
