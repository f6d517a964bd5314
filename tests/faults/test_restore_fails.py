"""A restore whose workers are killed, and a server that has no connection left."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import fastdump
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.embedded import Mongod
from tests.conftest import COMMAND_SECONDS, Server, command, environment
from tests.faults.test_server_lost import Proxy

pytestmark = pytest.mark.timeout(120)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Those that talk to a server."""
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if one.net_connections():
                found.append(one)
    return found


def test_a_killed_workers_segment_is_loaded_again(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    generate(server.connection, database, 200_000_000)
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    restore = subprocess.Popen(
        command("restore", "--target-uri", server.uri, "--target-db", target, "-f", tmp_path, "-y",
                "-j", "2"),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while len(found := workers_of(restore)) < 2:
        time.sleep(0.02)
        assert restore.poll() is None
    found[0].kill()
    _out, err = restore.communicate(timeout=COMMAND_SECONDS)
    assert restore.returncode == 0, err
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_a_server_without_connections_to_spare(tmp_path: Path) -> None:
    """It hangs up on whoever comes; the others go on, and so does the backup when some are free."""
    with Mongod(arguments=["--maxConns", "40"]) as mongod:
        own = Server(mongod.uri)
        generate(own.connection, "db", 100_000_000)
        proxy = Proxy(mongod.port)
        uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        backup = subprocess.Popen(
            command("backup", "--uri", uri, "--db", "db", "-f", tmp_path, "-y", "-j", "2",
                    "--max-rate", "30"),
            env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not any(tmp_path.glob(".*.partial/*.0*")):
            time.sleep(0.02)
            assert backup.poll() is None
        taken = [socket.create_connection(("127.0.0.1", mongod.port)) for _number in range(60)]
        proxy.cut()  # whoever is connected must come again
        time.sleep(2)
        for one in taken:
            one.close()
        _out, err = backup.communicate(timeout=COMMAND_SECONDS)
        assert backup.returncode == 0, err
        proxy.close()
        assert fastdump.verify(tmp_path).intact
