"""Real faults: whatever ends a backup half way, nothing that was there before is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.embedded import Mongod
from tests.conftest import COMMAND_SECONDS, Server, below, command, environment

pytestmark = pytest.mark.timeout(120)

DATABASE_BYTES = 150_000_000


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    generate(server.connection, name, DATABASE_BYTES)
    return name


@pytest.fixture(scope="module")
def small(database: str) -> Iterator[str]:
    """The address of a server with a small database of the same name."""
    with Mongod() as mongod:
        generate(Server(mongod.uri).connection, database, 1_000_000)
        yield mongod.uri


@pytest.fixture
def folder(small: str, database: str, tmp_path: Path) -> Path:
    """A folder with one good backup, of a database with the same name and collections."""
    fastdump.backup(small, db=database, folder=tmp_path / "backups")
    return tmp_path / "backups"


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in below(folder)
        if path.name != ".lock"  # what a killed run leaves blocks nobody
    }


def start(server: Server, database: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y", "-j", "2")
    return subprocess.Popen(
        command(*arguments),
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_writing(child: psutil.Process, parent: int) -> bool:
    """Whether a worker has a file of a backup open; one that has just ended has not."""
    try:
        return child.ppid() != parent and any(
            ".partial" in file.path for file in child.open_files()
        )
    except psutil.NoSuchProcess:
        return False


def working_processes(parent: int) -> list[psutil.Process]:
    """The worker processes, once they write: children of the forkserver, which is our child."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while time.monotonic() < deadline:
        found = [
            child
            for child in psutil.Process(parent).children(recursive=True)
            if is_writing(child, parent)
        ]
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("no worker began to write")


def all_gone(processes: list[psutil.Process], seconds: float = 5) -> bool:
    _gone, alive = psutil.wait_procs(processes, seconds)
    return not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def kill_at_work(backup: subprocess.Popen[str], part: str = "") -> None:
    """Kill a worker that has a part file open, surely: it is stopped before it is looked at."""
    while True:
        for victim in working_processes(backup.pid):
            with suppress(psutil.NoSuchProcess):  # one that has just ended may still be listed
                victim.suspend()
                if any(f"{part}.gz." in file.path for file in victim.open_files()):
                    victim.kill()
                    # Or the same one could be found, and killed, once more.
                    assert all_gone([victim])
                    return
                victim.resume()


def test_a_killed_workers_chunk_is_done_again(server: Server, database: str, folder: Path) -> None:
    backup = start(server, database, folder)
    for _death in range(2):
        kill_at_work(backup)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 0, err
    assert fastdump.verify(folder).problems == ()
    target = server.new_database()
    fastdump.restore(server.uri, target_db=target, folder=folder)
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_two_million_stats_and_the_second_backup_killed_half_way(
    server: Server, tmp_path: Path
) -> None:
    """What Komodo's own backup loses: it empties Stats.gz before it has a new one."""
    database, folder = server.new_database(), tmp_path / "backups"
    insert(
        server.connection,
        database,
        "Stats",
        ({"_id": n, "n": n, "x": "y" * 24} for n in range(2_000_000)),
    )
    first = start(server, database, folder)
    _out, err = first.communicate(timeout=COMMAND_SECONDS)
    assert first.returncode == 0, err
    with server.client() as client:
        client[database]["Stats"].update_many({"_id": {"$lt": 1000}}, {"$set": {"n": -1}})
    before = content(folder)
    second = start(server, database, folder)
    working_processes(second.pid)
    family = psutil.Process(second.pid).children(recursive=True)
    second.kill()
    second.communicate(timeout=COMMAND_SECONDS)
    assert all_gone(family)
    after = {name: data for name, data in content(folder).items() if ".partial/" not in name}
    assert after == before
    report = fastdump.verify(folder)
    assert report.problems == ()
    (stats,) = [found for found in report.collections if found.name == "Stats"]
    assert stats.documents == 2_000_000
    target = server.new_database()
    assert fastdump.restore(server.uri, target_db=target, folder=folder).inserted == 2_000_000
    with server.client() as client:
        assert client[target]["Stats"].count_documents({"n": -1}) == 0


def test_three_killed_workers_of_one_chunk_fail_the_backup_and_it_is_named(
    server: Server, folder: Path
) -> None:
    before = content(folder)
    # One chunk that takes long, so that it can be hit three times.
    database = server.new_database()
    with server.client() as client:
        client[database].create_collection("Log", capped=True, size=400_000_000)
    insert(
        server.connection,
        database,
        "Log",
        ({"_id": n, "x": os.urandom(3000)} for n in range(60_000)),
    )
    backup = start(server, database, folder)
    for _death in range(3):
        kill_at_work(backup, "Log")
    family = psutil.Process(backup.pid).children(recursive=True)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 1
    said = f"3 worker processes were killed while they worked on part 1 of 1 of {database}.Log"
    assert said in err
    assert "Traceback" not in err
    assert content(folder) == before
    assert all_gone(family)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_interrupted(
    server: Server, database: str, folder: Path, sent: signal.Signals, code: int
) -> None:
    before = content(folder)
    backup = start(server, database, folder)
    family = working_processes(backup.pid)
    backup.send_signal(sent)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == code
    assert "Traceback" not in err
    assert content(folder) == before
    assert all_gone(family)


def test_the_coordinator_killed_leaves_no_orphan_and_no_backup(
    server: Server, database: str, folder: Path
) -> None:
    before = content(folder)
    backup = start(server, database, folder)
    working_processes(backup.pid)
    family = psutil.Process(backup.pid).children(recursive=True)
    backup.kill()
    backup.communicate(timeout=COMMAND_SECONDS)
    assert all_gone(family)
    assert len(fastdump.list_backups(folder)) == 1
    after = {name: data for name, data in content(folder).items() if ".partial/" not in name}
    assert after == before


def in_small_disk(script: str, mount: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a mount namespace of its own, with a disk of 8 MB at `mount`."""
    mount.mkdir()
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    whole = f"mount -t tmpfs -o size=8m none '{mount}' || exit 99\n{script}"
    return subprocess.run(
        ["unshare", *user, "--mount", "sh", "-c", whole],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("workers", ["1", "2"])  # one fetches ahead, where there are two cores
def test_a_full_disk(
    server: Server, database: str, folder: Path, tmp_path: Path, workers: str
) -> None:
    mount, after = tmp_path / "small", tmp_path / "after"
    backup = " ".join(
        f"'{word}'"
        for word in command(
            "backup", "--uri", server.uri, "--db", database, "-f", mount, "-y", "-j", workers
        )
    )
    done = in_small_disk(
        f"cp -a '{folder}/.' '{mount}'\n{backup}\ncode=$?\ncp -a '{mount}' '{after}'\nexit $code",
        mount,
    )
    assert done.returncode == 1, done.stderr
    (complaint,) = [line for line in done.stderr.splitlines() if line.startswith("fastdump:")]
    assert "no space left" in complaint
    assert str(mount) in complaint
    assert "Traceback" not in done.stderr
    assert content(after) == content(folder)


def test_a_read_only_disk(server: Server, database: str, folder: Path, tmp_path: Path) -> None:
    mount = tmp_path / "small"
    backup = " ".join(
        f"'{word}'"
        for word in command("backup", "--uri", server.uri, "--db", database, "-f", mount)
    )
    done = in_small_disk(f"mount -o remount,ro '{mount}'\n{backup}", mount)
    assert done.returncode == 1, done.stderr
    assert "read-only" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_dies_half_way(database: str, folder: Path) -> None:
    before = content(folder)
    with Mongod() as mongod:
        server = Server(mongod.uri)
        generate(server.connection, database, DATABASE_BYTES)
        backup = start(server, database, folder, FASTDUMP_RETRY_FOR="1")
        working_processes(backup.pid)
        os.kill(mongod.pid, signal.SIGKILL)
        _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 3, err
    assert "Traceback" not in err
    assert content(folder) == before


def test_the_folder_vanishes(server: Server, database: str, tmp_path: Path) -> None:
    backup = start(server, database, tmp_path / "b")
    working_processes(backup.pid)
    shutil.rmtree(tmp_path / "b", ignore_errors=True)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 1, err
    assert "does not exist" in err
    assert "Traceback" not in err


def test_a_killed_worker_ends_an_archive(server: Server, database: str, tmp_path: Path) -> None:
    """What it wrote cannot be taken back; the last good archive stays."""
    file = tmp_path / "archive"
    file.write_bytes(b"the last good one")
    backup = subprocess.Popen(
        command("backup", "--uri", server.uri, "--db", database, "--layout", "archive", "-o", file,
                "-y", "-j", "2", "--max-rate", "40"),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    partial = tmp_path / ".archive.partial"
    while not (partial.exists() and partial.stat().st_size > 1_000_000):
        time.sleep(0.02)
        assert backup.poll() is None
    family = psutil.Process(backup.pid).children(recursive=True)
    busiest = max(family, key=lambda process: sum(process.cpu_times()[:2]))
    busiest.kill()
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 1, err
    assert "a worker process was killed while it worked on part" in err
    assert {path.name for path in tmp_path.iterdir()} == {"archive"}
    assert file.read_bytes() == b"the last good one"
    assert all_gone(family)
