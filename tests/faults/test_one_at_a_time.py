"""Two backups at once, what killed ones leave behind, and what changes while one runs."""

from __future__ import annotations

import os
import re
import resource
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump import ReadOptions
from fastdump.errors import FastdumpError, StorageError
from fastdump.mongo.client import open_database
from fastdump.storage.locking import Lock
from fastdump.storage.volume import Volume
from tests.conftest import COMMAND_SECONDS, Run, Server, command, environment, listed, wait_until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    for collection in ("one", "two"):
        insert(
            server.connection, name, collection, ({"_id": n, "x": "y" * 900} for n in range(5000))
        )
    return name


def slow(server: Server, database: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    """A backup that takes about five seconds."""
    arguments = ("--uri", server.uri, "--db", database, "-f", folder, "-y", "--max-rate", "2")
    backup = subprocess.Popen(
        command("backup", *arguments, *more), env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: any(folder.glob(".*.partial/*")), "the backup did not begin")
    return backup


def test_the_second_is_refused(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    first = slow(server, database, tmp_path)
    second = fastdump("backup", "--uri", server.uri, "--db", database, "-f", tmp_path)
    assert second.code == 1
    assert re.search(rf"another backup is being written there, by process {first.pid} for \d+ s",
                     second.err)  # fmt: skip
    _out, err = first.communicate(timeout=COMMAND_SECONDS)
    assert first.returncode == 0, err
    assert fastdump("verify", "-f", tmp_path).code == 0
    assert not (tmp_path / ".lock").exists()


def test_a_killed_one_blocks_nobody_and_is_pruned_in_time(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path)
    assert fastdump(*arguments).code == 0
    first = slow(server, database, tmp_path)
    first.kill()
    first.communicate(timeout=COMMAND_SECONDS)
    (left,) = tmp_path.glob(".*.partial")
    second = fastdump(*arguments)
    assert second.code == 0, second.err
    assert f"{left}: left behind by a backup that was killed" in second.err
    assert left.exists()
    third = fastdump(*arguments, "--max-backups", "1")
    assert third.code == 0, third.err
    assert not left.exists()
    assert len(list(tmp_path.glob("2*"))) == 1


def test_a_lock_is_let_go_and_taken_again(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    lock = Lock(path, tmp_path, Volume(tmp_path))
    with pytest.raises(StorageError, match=f"by process {os.getpid()}"):
        Lock(path, tmp_path, Volume(tmp_path))
    lock.release()
    lock.release()
    assert not path.exists()
    path.write_text("999999 1\n")  # what a killed process leaves
    Lock(path, tmp_path, Volume(tmp_path)).release()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Lock(path, tmp_path, Volume(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


@contextmanager
def limited(size: int) -> Iterator[None]:
    """The kernel refuses to let files of this process grow beyond that size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_lock_needs_no_byte(tmp_path: Path) -> None:
    """So that old backups can be removed from a full disk."""
    with limited(0):
        lock = Lock(tmp_path / ".lock", tmp_path, Volume(tmp_path))
    with pytest.raises(StorageError, match="another backup is being written there; wait for that"):
        Lock(tmp_path / ".lock", tmp_path, Volume(tmp_path))
    lock.release()
    assert list(tmp_path.iterdir()) == []


def still_open(folder: Path) -> list[str]:
    """The files of that folder, and those without a name, that this process has open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            links.append(str(link.readlink()))
    return [link for link in links if link.startswith((str(folder), "/memfd:turns"))]


@pytest.mark.parametrize("layout", ["komodo", "archive"])
def test_a_backup_that_cannot_begin_leaves_nothing_locked(
    server: Server, database: str, tmp_path: Path, layout: str
) -> None:
    """And no file, and no descriptor: a journal or a head that cannot be written ends it."""
    out = tmp_path / "archive" if layout == "archive" else None
    how: dict[str, Any] = {
        "writing": fastdump.WriteOptions(layout=layout, out=out),
        "folder": tmp_path,
        "resume": layout == "komodo",
    }
    for _turn in range(2):
        with limited(64), pytest.raises(StorageError, match="File too large"):
            fastdump.backup(server.uri, db=database, **how)
        assert list(tmp_path.iterdir()) == []
        assert still_open(tmp_path) == []
    fastdump.backup(server.uri, db=database, **how)


def test_collections_that_come_and_go_are_said(server: Server, tmp_path: Path) -> None:
    name = server.new_database()
    for collection in ("dropped", "renamed", "remade", "stays"):
        insert(
            server.connection, name, collection, ({"_id": n, "x": "y" * 900} for n in range(2500))
        )
    backup = slow(server, name, tmp_path)
    with server.client() as client:
        found = open_database(client, name)
        found["dropped"].drop()
        found["renamed"].rename("new name")
        found["remade"].drop()
        found["remade"].insert_one({"_id": 1})
        found["made"].insert_one({"_id": 1})
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 0, err
    for said in (
        f"{name}.dropped was dropped while the server was read",
        f"{name}.renamed was renamed to {name}.new name while the server was read",
        f"{name}.remade was dropped and created again while the server was read",
        f"{name}.made was created while the server was read, and is left out",
    ):
        assert said in err
    assert f"{name}.stays was" not in err
    verified = fastdump.verify(tmp_path)
    assert verified.intact
    assert {one.name: one.documents for one in verified.collections}["stays"] == 2500


def cursors(server: Server) -> int:
    with server.client() as client:
        return int(client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"])


@pytest.mark.parametrize(
    ("signal_number", "workers", "rate"),
    [
        (signal.SIGINT, 2, "2"),
        (signal.SIGTERM, 2, "2"),
        # One worker fetches ahead, where there are two cores, and waits 2 s for each batch.
        (signal.SIGTERM, 1, "0.5"),
    ],
)
def test_an_interrupted_one_closes_its_cursors(
    server: Server, tmp_path: Path, signal_number: signal.Signals, workers: int, rate: str
) -> None:
    name = server.new_database()
    insert(server.connection, name, "c", ({"_id": n, "x": os.urandom(1000)} for n in range(90_000)))
    before = cursors(server)
    backup = slow(server, name, tmp_path, "-j", str(workers), "--max-rate", rate)
    wait_until(lambda: cursors(server) >= before + workers, "no cursors were opened")
    family = psutil.Process(backup.pid).children(recursive=True)
    backup.send_signal(signal_number)
    _out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 128 + signal_number
    assert "Traceback" not in err
    _gone, alive = psutil.wait_procs(family, 2)
    assert alive == []
    # A cursor that is in use when it is killed disappears a moment later.
    wait_until(lambda: cursors(server) <= before, "a cursor was left open")
    assert listed(tmp_path) == []


def test_a_second_interrupt_ends_at_once(server: Server, database: str, tmp_path: Path) -> None:
    backup = slow(server, database, tmp_path)
    backup.send_signal(signal.SIGINT)
    backup.send_signal(signal.SIGINT)
    backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 130


@pytest.mark.parametrize(
    ("mode", "files", "folders"), [("600", 0o600, 0o700), ("640", 0o640, 0o750)]
)
def test_who_may_read(
    fastdump: Run, server: Server, tmp_path: Path, mode: str, files: int, folders: int
) -> None:
    name = server.new_database()
    insert(server.connection, name, "c", [{"_id": 1}])
    insert(server.connection, name, "Stats", [{"_id": 1}])
    arguments = ("backup", "--uri", server.uri, "--db", name, "--mode", mode, "-y")
    assert fastdump(*arguments, "-f", tmp_path / "b").code == 0
    assert fastdump(*arguments, "--layout", "archive", "-o", tmp_path / "b/archive").code == 0
    for path in (tmp_path / "b").rglob("*"):
        expected = folders if path.is_dir() else files
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_modes_that_are_none(fastdump: Run, server: Server) -> None:
    for mode in ("700x", "9", "044", "1777"):
        done = fastdump("backup", "--uri", server.uri, "--mode", mode)
        assert (done.code, "--mode is" in done.err) == (2, True)


def test_links_are_never_followed_out_of_the_folder(server: Server, tmp_path: Path) -> None:
    name = server.new_database()
    insert(server.connection, name, "c", [{"_id": 1}])
    insert(server.connection, name, "Stats", [{"_id": 1}])
    folder, outside = tmp_path / "backups", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (outside / "Stats.gz").write_text("kept")
    (folder / "2020-01-01_00-00-00").symlink_to(outside)
    (folder / ".2020-01-01_00-00-00.partial").symlink_to(outside)
    (folder / "Stats.gz").symlink_to(outside / "Stats.gz")
    for _turn in range(2):
        fastdump.backup(server.uri, db=name, folder=folder, max_backups=1)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {
        "precious": "kept", "Stats.gz": "kept"
    }  # fmt: skip
    assert not (folder / "Stats.gz").is_symlink()
    assert fastdump.verify(folder).intact


def test_a_rate_is_kept(server: Server, database: str, tmp_path: Path) -> None:
    """About nine megabytes of documents."""
    began = time.monotonic()
    report = fastdump.backup(
        server.uri, db=database, folder=tmp_path, reading=ReadOptions(max_rate=4)
    )
    assert time.monotonic() - began > 0.8 * report.raw_bytes / 4e6


def test_an_archive_is_locked_too(server: Server, database: str, tmp_path: Path) -> None:
    lock = Lock(tmp_path / ".it.lock", tmp_path / "it", Volume(tmp_path))
    for layout in ("archive", "mongodump"):
        with pytest.raises(FastdumpError, match="another backup"):
            fastdump.backup(
                server.uri,
                db=database,
                writing=fastdump.WriteOptions(layout=layout, out=tmp_path / "it"),
            )
    lock.release()
    fastdump.backup(
        server.uri,
        db=database,
        writing=fastdump.WriteOptions(layout="archive", out=tmp_path / "it"),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["it"]
