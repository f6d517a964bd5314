"""Measure the cost of consistency: each kind of backup of a replica set, without and with writes.

With a writer, both sides are measured: the time of the backup, and the loss of writes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Measurement
from benchmarks.tools import fastdump_backup

__all__ = ["MODES", "run"]

MODES = ("none", "snapshot", "oplog", "lock")
_ALONE_SECONDS = 5

Measure = Callable[[str, str, int, list[str], dict[str, Any]], Measurement]
"""A function that measures a command: data, tool, round, command, and further fields of the
result."""


def run(uri: str, database: str, folder: Path, numbers: Iterator[int], measure: Measure) -> None:
    """Measure every kind in each round, without and with writes."""
    for number in numbers:
        for mode in MODES:
            measure("idle", _name(mode), number, _command(uri, database, folder, mode), {})
        with _writing(uri, database, folder / "writes") as written:
            alone = _rate(written, lambda: time.sleep(_ALONE_SECONDS))
            for mode in MODES:
                if mode == "lock":
                    continue  # a lock stops all writes
                row = {"alone": alone, "writes": 0.0}
                command = _command(uri, database, folder, mode)
                backup = partial(measure, "written to", _name(mode), number, command, row)
                row["writes"] = _rate(written, backup)


def _name(mode: str) -> str:
    return "fastdump" if mode == "none" else f"fastdump, {mode}"


def _command(uri: str, database: str, folder: Path, mode: str) -> list[str]:
    return [*fastdump_backup(uri, database, folder / "out"), "--consistency", mode]


@contextmanager
def _writing(uri: str, database: str, path: Path) -> Iterator[Path]:
    command = [sys.executable, "-m", "benchmarks.writer", uri, database, str(path)]
    writer = subprocess.Popen(command)
    try:
        while not path.exists():
            time.sleep(0.1)
        time.sleep(1)
        yield path
    finally:
        writer.kill()
        writer.wait()
        path.unlink()


def _rate(path: Path, work: Callable[[], object]) -> float:
    """Return the number of writes a second during some work."""
    before, began = _read(path)
    work()
    after, ended = _read(path)
    return (after - before) / (ended - began)


def _read(path: Path) -> tuple[int, float]:
    while len(found := path.read_text().split()) != 2:  # the file is just being written
        time.sleep(0.001)
    return int(found[0]), float(found[1])
