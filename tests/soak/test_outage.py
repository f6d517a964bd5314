"""A server that is away for half a minute, and documents of 16 MB. Run by `tox -e soak`."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from tests.conftest import Mortal, Server, command, environment

pytestmark = pytest.mark.timeout(300)


def start(uri: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("backup", "--uri", uri, "--db", "db", "-f", folder, "-y", "-j", "2", *more),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_half_a_minute(server: Server, tmp_path: Path) -> None:
    with Mortal() as mongod:
        own = Server(mongod.uri)
        generate(own.connection, "db", 100_000_000)
        with own.client() as client:
            client.admin.command("fsync")
        backup = start(mongod.uri, tmp_path, "--max-rate", "30")
        time.sleep(2)
        mongod.die()
        time.sleep(30)
        mongod.rise()
        _out, err = backup.communicate(timeout=120)
        assert backup.returncode == 0, err
        assert "the connection to the server was lost" in err
        target = server.new_database()
        fastdump.restore(server.uri, target_db=target, folder=tmp_path)
        expected = state(own.connection, "db")
        assert differences(expected, state(server.connection, target)) == []


def test_documents_of_16_megabytes(server: Server, tmp_path: Path) -> None:
    """Memory is bounded by workers and batches, and a batch holds at least one document."""
    with Mortal() as mongod:
        own = Server(mongod.uri)
        large = ({"_id": n, "x": os.urandom(15_900_000)} for n in range(40))
        insert(own.connection, "db", "c", large)
        backup = start(mongod.uri, tmp_path)
        most = 0
        while backup.poll() is None:
            try:
                family = [psutil.Process(backup.pid)]
                family += family[0].children(recursive=True)
                most = max(most, *(one.memory_info().rss for one in family))
            except psutil.NoSuchProcess:
                continue
            time.sleep(0.02)
        assert backup.returncode == 0
        assert 0 < most < 250_000_000
        target = server.new_database()
        assert fastdump.restore(server.uri, target_db=target, folder=tmp_path).documents == 40
        with server.client() as client:
            client.drop_database(target)
