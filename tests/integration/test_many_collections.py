"""Thousands of small collections: by several processes, in few jobs, and exactly the same."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastdump as package
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from tests.conftest import Run, Server

pytestmark = pytest.mark.timeout(180)

COUNT = 150


@pytest.fixture(autouse=True)
def are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "MANY", 100)


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    with server.client() as client:

        def make(number: int) -> None:
            collection = client[name][f"c{number:04}"]
            collection.insert_many({"_id": n, "x": n} for n in range(1 + number % 5))
            collection.create_index("x", unique=True)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(make, range(COUNT)))
    return name


@pytest.mark.parametrize("layout", ["komodo", "repository", "archive"])
def test_a_round_trip(server: Server, database: str, tmp_path: Path, layout: str) -> None:
    out = tmp_path / "archive" if layout == "archive" else None
    how = package.WriteOptions(layout=layout, out=out)
    report = package.backup(server.uri, db=database, folder=tmp_path, writing=how, workers=2)
    assert (report.workers, len(report.collections)) == (2, COUNT)
    target = server.new_database()
    restored = package.restore(server.uri, target_db=target, folder=tmp_path, name=out, workers=2)
    assert restored.indexes == COUNT
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    assert package.verify(tmp_path, name=out).intact


def test_the_largest_are_shown_or_all(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path)
    done = fastdump(*arguments)
    assert done.code == 0, done.err
    assert re.search(rf"^{COUNT - 20} others +\d", done.out, re.M)
    assert len(re.findall(r": \d+ documents, ", done.err)) == 20
    done = fastdump(*arguments, "-v")
    assert len(re.findall(r"^c\d{4} ", done.out, re.M)) == COUNT


def test_few_files_may_be_open(server: Server, database: str, tmp_path: Path) -> None:
    """Fewer than there are collections: by default, many systems allow 1,024."""

    def limited(*arguments: str | Path) -> None:
        command = [sys.executable, "-m", "fastdump", *arguments, "-f", tmp_path, "-j", "2"]
        few = ["bash", "-c", f'ulimit -n {COUNT // 2}; exec "$@"', "bash"]
        done = subprocess.run([*few, *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    limited("backup", "--uri", server.uri, "--db", database)
    target = server.new_database()
    limited("restore", "--target-uri", server.uri, "--target-db", target, "-y")
    assert differences(state(server.connection, database), state(server.connection, target)) == []
