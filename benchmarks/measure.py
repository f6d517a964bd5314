"""What a command costs: time, CPU of its processes and of the server, memory, bytes written."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Measurement", "measure"]

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Measurement:
    """One run of one command.

    CPU and memory are sampled every 20 ms from the whole tree of processes, so that the last
    moments of each process may be missing; memory is resident, and what processes share counts in
    each of them.
    """

    seconds: float
    user_seconds: float
    system_seconds: float
    server_seconds: float
    tree_bytes: int
    """The highest sum over the processes at one moment."""
    process_bytes: int
    """The highest of any one process."""
    written_bytes: int


def measure(command: Sequence[str], server_pid: int, output: Path | None = None) -> Measurement:
    """Run a command and measure it.

    Dirty pages of earlier commands are written out before, so that nobody pays for another.

    Raises:
        RuntimeError: the command failed.
    """
    os.sync()
    server = psutil.Process(server_pid)
    server_before = sum(server.cpu_times()[:2])
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    tree = _Tree(process.pid)
    while process.poll() is None:
        tree.sample()
        time.sleep(_SAMPLE_SECONDS)
    seconds = time.perf_counter() - began
    assert process.stdout is not None
    said = process.stdout.read().decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said[-2000:]}")
    return Measurement(
        seconds,
        sum(user for user, _system in tree.cpu.values()),
        sum(system for _user, system in tree.cpu.values()),
        sum(server.cpu_times()[:2]) - server_before,
        tree.tree_bytes,
        tree.process_bytes,
        _size(output) if output else 0,
    )


class _Tree:
    """A process and its descendants, sampled while they live."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self.cpu: dict[int, tuple[float, float]] = {}
        self.tree_bytes = 0
        self.process_bytes = 0

    def sample(self) -> None:
        sizes = [0]
        try:
            for process in [self._root, *self._root.children(recursive=True)]:
                times = process.cpu_times()
                self.cpu[process.pid] = times.user, times.system
                sizes.append(process.memory_info().rss)
        except psutil.Error:
            return  # one of them has just ended
        self.tree_bytes = max(self.tree_bytes, sum(sizes))
        self.process_bytes = max(self.process_bytes, *sizes)


def _size(path: Path) -> int:
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
