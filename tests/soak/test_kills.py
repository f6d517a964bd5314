"""A backup killed at a hundred random moments; a restore too. Run by `tox -e soak`."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

import fastdump
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from tests.conftest import Server, command, environment

pytestmark = pytest.mark.timeout(3000)

KILLS = 100


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    generate(server.connection, name, 100_000_000)
    return name


def run_and_kill(arguments: tuple[object, ...], seconds: float) -> bool:
    """Returns whether it was over before it was killed."""
    process = subprocess.Popen(
        command(*arguments), env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    assert process.returncode == 0
    return True


def test_a_backup_is_there_or_it_is_not(server: Server, database: str, tmp_path: Path) -> None:
    chance = random.Random(1)
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path, "-y", "-j", "2",
                 "--max-backups", "2")  # fmt: skip
    began = time.monotonic()
    assert run_and_kill(arguments, 60)
    usual = time.monotonic() - began
    for _number in range(KILLS):
        run_and_kill(arguments, chance.uniform(0.2 * usual, 1.1 * usual))
        for backup in fastdump.list_backups(tmp_path):
            assert fastdump.verify(tmp_path, name=backup.name).problems == ()
    assert run_and_kill(arguments, 60)
    target = server.new_database()
    fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_a_restore_run_again_is_whole(server: Server, database: str, tmp_path: Path) -> None:
    chance = random.Random(2)
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    expected = state(server.connection, database)
    for _number in range(KILLS // 10):
        target = server.new_database()
        arguments = ("restore", "--target-uri", server.uri, "--target-db", target, "-f", tmp_path,
                     "-y", "-j", "2")  # fmt: skip
        for _kill in range(3):
            run_and_kill(arguments, chance.uniform(0.3, 1.5))
        assert run_and_kill(arguments, 60)
        assert differences(expected, state(server.connection, target)) == []
        with server.client() as client:
            client.drop_database(target)
