"""Measure the cost of a command: time, CPU of its processes and the server, memory, disk."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Measurement", "folder_bytes", "measure"]

_SAMPLE_SECONDS = 0.25
_REAP_SECONDS = 10
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Measurement:
    """Measurement of one run of a command.

    CPU and the largest process are the kernel's own accounts for all processes that the command
    started, including those that outlive it. Only the sum of their memory is sampled, and rarely:
    frequent samples would slow down the command.
    """

    seconds: float
    """Elapsed time."""
    user_seconds: float
    """CPU of the command's processes in user mode."""
    system_seconds: float
    """CPU of the command's processes in the kernel."""
    server_seconds: float
    """CPU of the server; 0 if its process is not known."""
    tree_bytes: int
    """Highest sum of resident memory at one moment; shared memory counts in each process."""
    process_bytes: int
    """Highest resident memory of any one process; at least the benchmark's own, which a process
    inherits before it becomes the command."""
    written_bytes: int
    """Size of the output, or in a folder that was there already its growth."""


def measure(
    command: Sequence[str], server_pid: int | None, output: Path | None = None
) -> Measurement:
    """Run a command and measure it.

    Dirty pages of earlier commands are written to the disk first, so that they do not count.

    Raises:
        RuntimeError: the command failed.
    """
    os.sync()
    # Processes that the command leaves behind become our children, so that we get their usage.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server_before = _cpu(server_pid)
    others = _children()
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        tree_bytes = _watch(process.pid)
        _pid, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            text = said.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {text}")
    server_seconds = _cpu(server_pid) - server_before
    usages = [used, *_reap(but=others)]
    return Measurement(
        seconds,
        sum(usage.ru_utime for usage in usages),
        sum(usage.ru_stime for usage in usages),
        server_seconds,
        tree_bytes,
        max(usage.ru_maxrss for usage in usages) * 1024,
        folder_bytes(output) if output else 0,
    )


def _cpu(pid: int | None) -> float:
    """Return the CPU seconds of a process; 0 for that of another machine."""
    return 0.0 if pid is None else float(sum(psutil.Process(pid).cpu_times()[:2]))


def _watch(pid: int) -> int:
    """Wait until a process ends, without reaping it, and return the highest sum of memory."""
    highest = 0
    descriptor = os.pidfd_open(pid)
    try:
        while not _ended(descriptor):
            highest = max(highest, _memory(pid))
    finally:
        os.close(descriptor)
    return highest


def _ended(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], _SAMPLE_SECONDS)[0])


def _memory(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.Error:
        return 0  # one of the processes has just ended
    return total


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def _reap(*, but: set[int]) -> list[resource.struct_rusage]:
    """Return the usage of processes that the command left behind, which are about to end."""
    found = []
    deadline = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < deadline:
        left = _children() - but
        if not left:
            break
        for pid in left:
            ended, _status, used = os.wait4(pid, os.WNOHANG)
            if ended:
                found.append(used)
        time.sleep(0.005)
    return found


def folder_bytes(path: Path) -> int:
    """Return the size of all files of a folder in bytes; 0 if there is none."""
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
