"""However a command ends, what it says is for people: no traceback, no warning of Python's."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchmarks.shapes import insert
from tests.conftest import (
    COMMAND_SECONDS,
    Mortal,
    Server,
    command,
    environment,
    is_writing,
    wait_until,
)

pytestmark = pytest.mark.timeout(120)

NOISE = ("resource_tracker", "Traceback", "Exception", "Warning", "semaphore", "Error:")


@pytest.fixture(scope="module")
def full() -> Iterator[Mortal]:
    """A server with so many documents that several processes read them."""
    with Mortal() as mongod:
        connection = Server(mongod.uri).connection
        for name in ("one", "two"):
            insert(connection, "db", name, ({"_id": n, "x": "x" * 50_000} for n in range(800)))
        yield mongod


@pytest.fixture(scope="module")
def backed_up(full: Mortal, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backed_up")
    arguments = ("--uri", full.uri, "--db", "db", "-f", folder, "-j", "2")
    done = subprocess.run(command("backup", *arguments), env=environment(), check=False)
    assert done.returncode == 0
    return folder


def start(
    *arguments: object,
    preexec_fn: Callable[[], None] | None = None,
    start_new_session: bool = False,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments, "-j", "2"), env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=preexec_fn,
        start_new_session=start_new_session,
    )  # fmt: skip


def slow_backup(full: Mortal, folder: Path) -> subprocess.Popen[str]:
    """A backup that is in the middle of it."""
    backup = start("backup", "--uri", full.uri, "--db", "db", "-f", folder, "--max-rate", "10",
                   "--retry-for", "1")  # fmt: skip
    wait_until(lambda: is_writing(folder), "the backup did not begin")
    return backup


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for the end of all that writes to its output; returns the exit code."""
    _out, err = process.communicate(timeout=COMMAND_SECONDS)
    assert not [line for line in err.splitlines() if any(one in line for one in NOISE)], err
    return process.returncode


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that do the work."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [one for one in found if one.ppid() != process.pid]


def wait_for_workers(process: subprocess.Popen[str]) -> None:
    """Wait until it has some, or has ended already."""
    wait_until(lambda: process.poll() is not None or workers_of(process), "no worker began")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGHUP, -1)],
)
def test_a_signal(full: Mortal, tmp_path: Path, number: int, code: int) -> None:
    backup = slow_backup(full, tmp_path)
    backup.send_signal(number)
    assert ended(backup) == code


def test_two_signals(full: Mortal, tmp_path: Path) -> None:
    backup = slow_backup(full, tmp_path)
    backup.send_signal(signal.SIGINT)
    backup.send_signal(signal.SIGINT)
    assert ended(backup) == 130


def test_all_processes_get_it(full: Mortal, tmp_path: Path) -> None:
    """As when a terminal is closed, or a container ends."""
    backup = slow_backup(full, tmp_path)
    for one in [*workers_of(backup), psutil.Process(backup.pid)]:
        one.send_signal(signal.SIGTERM)
    assert ended(backup) in (1, 143)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_a_terminal_interrupts_all(full: Mortal, tmp_path: Path, processes: int) -> None:
    """Ctrl-C reaches every process of a command, also those that have just begun."""
    backup = slow_start(full, tmp_path)
    wait_until(
        lambda: len(psutil.Process(backup.pid).children(recursive=True)) >= processes,
        "it started no process",
    )
    os.killpg(backup.pid, signal.SIGINT)
    assert ended(backup) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_moments(full: Mortal, tmp_path: Path, number: signal.Signals) -> None:
    """The moments differ from run to run, so there are many."""
    for moment in range(8):
        backup = slow_start(full, tmp_path)
        # Before it has begun, a signal ends Python itself, which is not ours to silence.
        wait_until(partial(is_handling, backup, number), "it did not begin")
        time.sleep(moment * 0.07)
        os.killpg(backup.pid, number)
        assert ended(backup) in (130, 143), moment


def slow_start(full: Mortal, folder: Path) -> subprocess.Popen[str]:
    return start("backup", "--uri", full.uri, "--db", "db", "-f", folder, "--max-rate", "10",
                 start_new_session=True)  # fmt: skip


def is_handling(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Return True once a process has its own handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    is_term = bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    return is_term and bool(int(caught, 16) >> (number - 1) & 1)


def test_a_killed_worker(full: Mortal, tmp_path: Path) -> None:
    backup = slow_backup(full, tmp_path)
    workers_of(backup)[0].kill()
    assert ended(backup) == 0


def test_a_killed_worker_of_an_archive(full: Mortal, tmp_path: Path) -> None:
    backup = start("backup", "--uri", full.uri, "--db", "db", "--layout", "archive", "--out",
                   tmp_path / "archive", "--max-rate", "10")  # fmt: skip
    wait_until(lambda: is_writing(tmp_path), "the backup did not begin")
    for one in workers_of(backup):
        one.kill()
    assert ended(backup) == 1


def test_a_broken_pipe(full: Mortal) -> None:
    backup = start("backup", "--uri", full.uri, "--db", "db", "--layout", "archive", "--out", "-")
    assert backup.stdout is not None
    assert os.read(backup.stdout.fileno(), 1000)
    backup.stdout.close()
    backup.stdout = None
    assert ended(backup) == 1


@pytest.mark.parametrize("arguments", [["list"], ["verify"], ["config"]])
def test_nobody_reads(backed_up: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        command(*arguments, "-f", backed_up), env=environment(), stdin=subprocess.DEVNULL,
        stdout=writing, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writing)
    assert ended(process) == 1


def test_a_full_disk(full: Mortal, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    backup = start("backup", "--uri", full.uri, "--db", "db", "-f", tmp_path, preexec_fn=limit)
    assert ended(backup) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_others_end(full: Mortal, backed_up: Path, server: Server, number: signal.Signals) -> None:
    """A restore, a copy and a verification, as soon as they have workers."""
    target = ("--target-uri", server.uri, "--target-db", server.new_database(), "-y")
    for arguments in (
        ("restore", *target, "-f", backed_up),
        ("copy", "--uri", full.uri, "--db", "db", *target),
        ("verify", "-f", backed_up),
    ):
        process = start(*arguments)
        wait_for_workers(process)
        process.send_signal(number)
        assert ended(process) in (0, 130, 143, -9)


def test_a_server_that_is_lost(tmp_path: Path, full: Mortal) -> None:
    backup = slow_backup(full, tmp_path)
    full.die()
    try:
        assert ended(backup) == 3
    finally:
        full.rise()


def test_a_target_that_is_lost(backed_up: Path) -> None:
    with Mortal() as mongod:
        process = start("restore", "--target-uri", mongod.uri, "--target-db", "db", "-y", "-f",
                        backed_up, "--retry-for", "1")  # fmt: skip
        wait_for_workers(process)
        mongod.die()
        assert ended(process) in (0, 3)
        mongod.rise()
