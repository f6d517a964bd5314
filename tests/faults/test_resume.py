"""A backup that goes on where a killed one ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest
from blake3 import blake3
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

import fastdump
import fastdump as api
from benchmarks.shapes import hurtful
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.engine import planner
from fastdump.errors import FastdumpError
from fastdump.layouts.joined_files import is_part
from fastdump.model import Part
from fastdump.mongo.client import open_database
from tests.conftest import (
    COMMAND_SECONDS,
    Mortal,
    Run,
    Server,
    command,
    environment,
    listed,
    wait_until,
)
from tests.shims import shim

pytestmark = pytest.mark.timeout(120)

SYMBOL = b"\x1f\x00\x00\x00\x07_id\x000123456789ab\x0es\x00\x02\x00\x00\x00s\x00\x00"
"""A document with an ObjectId and a symbol, which is deprecated."""


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    generate(server.connection, name, 150_000_000)
    return name


def kill_half_way(server: Server, database: str, folder: Path, *more: str) -> Path:
    """What a killed backup left behind, with some chunks finished."""
    arguments = ("--uri", server.uri, "--db", database, "-f", folder, "-y", "--resume",
                 "--max-rate", "40", "-j", "2", *more)  # fmt: skip
    backup = subprocess.Popen(
        command("backup", *arguments), env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(
        lambda: any(path.read_bytes().count(b"\n") > 4 for path in folder.glob(
            ".*.partial/journal")),
        "no chunks were finished",
    )  # fmt: skip
    os.kill(backup.pid, signal.SIGKILL)
    backup.wait()
    (left,) = folder.glob(".*.partial")
    return left


def check(server: Server, database: str, folder: Path) -> None:
    assert fastdump.verify(folder).problems == ()
    target = server.new_database()
    assert fastdump.restore(server.uri, target_db=target, folder=folder).complete
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    with server.client() as client:
        client.drop_database(target)


@pytest.mark.parametrize(
    "layout", [["komodo"], ["komodo-json"], ["mongodump"], ["mongodump", "--no-gzip"]]
)
def test_only_the_rest_is_read(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: list[str]
) -> None:
    left = kill_half_way(server, database, tmp_path, "--layout", *layout)
    name = left.name[1:].removesuffix(".partial")
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path, "-j", "2",
                 "--progress", "json", "--layout", *layout)  # fmt: skip
    done = fastdump(*arguments, "--resume")
    assert done.code == 0, done.err
    assert f"backup {name} is complete" in done.out
    assert not left.exists()
    check(server, database, tmp_path)
    again = fastdump(*arguments, "--resume")
    assert again.code == 0, again.err
    assert name not in again.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("komodo", "manifest.json"),
        ("komodo", "Stats.manifest.json"),
        ("komodo-json", "manifest.json"),
        ("mongodump", "manifest.json"),
        ("mongodump", "prelude.json.gz"),
    ],
)
def test_a_disk_that_is_full_at_the_very_end(
    fastdump: Run, server: Server, tmp_path: Path, layout: str, file: str
) -> None:
    """All documents are there; the next run has only to describe them."""
    name, folder = server.new_database(), tmp_path / "b"
    generate(server.connection, name, 3_000_000)
    arguments = ("backup", "--uri", server.uri, "--db", name, "-f", folder, "--resume")
    full = """
        os.open = refusing(
            os.open, errno.ENOSPC, lambda path, *_, **__: str(path).endswith("/FILE")
        )
    """
    done = fastdump(*arguments, "--layout", layout, **shim(tmp_path, full.replace("FILE", file)))
    assert done.code == 1
    assert "there is no space left" in done.err
    (left,) = folder.glob(".*.partial")
    assert {path.name for path in listed(folder)} == {left.name}
    with server.client() as client:
        # What is read now is not what was read then.
        open_database(client, name)["Update"].delete_many({})
    done = fastdump(*arguments, "--layout", layout)
    assert done.code == 0, done.err
    assert f"backup {left.name[1:].removesuffix('.partial')} is complete" in done.out
    assert not left.exists()
    report = api.verify(folder)
    assert report.intact
    assert {one.name: one.documents for one in report.collections}["Update"] > 0


def test_what_was_damaged_meanwhile_is_read_again(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    left = kill_half_way(server, database, tmp_path)
    # A worker may have begun a part just now.
    written = [path for path in left.glob("*.gz*") if path.stat().st_size]
    assert written
    for path in written:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    source = ("--uri", server.uri, "--db", database, "-f", tmp_path)
    done = fastdump("backup", *source, "-j", "2", "--resume")
    assert done.code == 0, done.err
    check(server, database, tmp_path)


def test_other_settings_begin_anew(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    source = ("--uri", server.uri, "--db", database, "-f", tmp_path)
    assert fastdump("backup", *source, "--collection", "Update").code == 0
    left = kill_half_way(server, database, tmp_path)
    for other in (["--exclude-collection", "Stats"], ["--layout", "mongodump"], ["--level", "2"]):
        done = fastdump("backup", *source, "--resume", *other)
        assert done.code == 0, done.err
        assert left.exists()
        assert f"{left}: left behind by a backup that was killed" in done.err


def test_a_collection_that_was_made_anew_is_not_mixed(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    name = server.new_database()
    generate(server.connection, name, 150_000_000)
    kill_half_way(server, name, tmp_path)
    with server.client() as client:
        found = open_database(client, name)
        found["Update"].drop()
        found["Update"].insert_many({"_id": n} for n in range(10))
    done = fastdump("backup", "--uri", server.uri, "--db", name, "-f", tmp_path, "--resume")
    assert done.code == 0, done.err
    check(server, name, tmp_path)


def test_a_collection_that_was_dropped_is_not_taken_over(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    name = server.new_database()
    generate(server.connection, name, 150_000_000)
    left = kill_half_way(server, name, tmp_path)
    with server.client() as client:
        open_database(client, name)["Update"].drop()
    done = fastdump("backup", "--uri", server.uri, "--db", name, "-f", tmp_path, "--resume")
    assert done.code == 0, done.err
    assert left.name[1:].removesuffix(".partial") not in done.out, "a new one was begun"
    check(server, name, tmp_path)


def test_what_failed_is_kept_for_the_next(server: Server, tmp_path: Path) -> None:
    with Mortal() as mongod:
        own = Server(mongod.uri)
        generate(own.connection, "db", 100_000_000)
        with own.client() as client:
            client.admin.command("fsync")
        arguments = ("--uri", f"{mongod.uri}&serverSelectionTimeoutMS=300", "--db", "db")
        backup = subprocess.Popen(
            command("backup", *arguments, "-f", tmp_path, "-y", "--resume", "--max-rate", "30",
                    "--retry-for", "1", "-j", "2"),
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not any(path.read_bytes().count(b"\n") > 3 for path in tmp_path.glob(".*/journal")):
            time.sleep(0.05)
            assert backup.poll() is None
        mongod.die()
        _out, err = backup.communicate(timeout=COMMAND_SECONDS)
        assert backup.returncode == 3, err
        (left,) = tmp_path.glob(".*.partial")
        mongod.rise()
        done = subprocess.run(
            command("backup", *arguments, "-f", tmp_path, "-y", "--resume", "-j", "2"),
            env=environment(), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert not left.exists()
        check(own, "db", tmp_path)


def test_a_large_plain_part_is_compared_piece_by_piece(tmp_path: Path) -> None:
    path, size = tmp_path / "c.bson", 100_000_000
    with path.open("wb") as file:
        file.truncate(3 * size)  # zeros, which take no space
    part = Part(0, size, size, 0.0, digest=blake3(bytes(size)).hexdigest())
    tracemalloc.start()
    try:
        assert is_part(path, size, part)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 10
    with path.open("r+b") as file:
        file.seek(2 * size - 1)
        file.write(b"x")
    assert not is_part(path, size, part)
    assert is_part(path, 0, part)
    assert not is_part(path, 5 * size // 2, part)  # cut


def test_the_losses_of_the_first_part_are_said(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    """Of JSON lines, by the run that ends the backup."""
    name, folder = server.new_database(), tmp_path / "b"
    with server.client() as client:
        found = open_database(client, name)
        found["ids"].insert_many({"_id": n} for n in range(3))
        found["old"].insert_one({"_id": ObjectId()})
        found.command("insert", "old", documents=[RawBSONDocument(SYMBOL)])
    arguments = ("backup", "--uri", server.uri, "--db", name, "-f", folder, "--resume",
                 "--layout", "komodo-json")  # fmt: skip
    full = """
        os.open = refusing(
            os.open, errno.ENOSPC, lambda path, *_, **__: str(path).endswith("/manifest.json")
        )
    """
    assert fastdump(*arguments, **shim(tmp_path, full)).code == 1
    done = fastdump(*arguments)
    assert done.code == 0, done.err
    assert "ids: 3 documents have an _id that is not an ObjectId" in done.err
    assert "old: 1 documents will not be restored exactly" in done.err


def test_only_in_the_backups_folder(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FastdumpError, match="dated backups"):
        fastdump.backup(
            server.uri, db="x", resume=True, writing=fastdump.WriteOptions(out=tmp_path / "x")
        )


def test_what_hurts_without_a_first_run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of any kind go through the journal."""
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    name = server.new_database()
    hurtful(server.connection, name)
    fastdump.backup(server.uri, db=name, folder=tmp_path, resume=True)
    check(server, name, tmp_path)
