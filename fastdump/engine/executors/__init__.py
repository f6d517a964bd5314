"""Executors, which run jobs on workers: in this process, or in several processes."""

from __future__ import annotations

from typing import TypeVar

from fastdump.engine.executors.in_process import InProcess
from fastdump.engine.executors.interface import Executor, Progress, Tick, Worker
from fastdump.engine.executors.processes import Processes

__all__ = ["Executor", "Progress", "Tick", "Worker", "executor"]

W = TypeVar("W", bound=Worker)


def executor(worker: W, size: int, on_tick: Tick, *, repeats: bool = True) -> Executor[W]:
    """Return the executor for that number of processes.

    Args:
        worker: the worker, of which each process gets a copy.
        size: the number of processes; 0 runs all jobs in this process.
        on_tick: called with the progress.
        repeats: True if a job may run again after its worker died.
    """
    if size:
        return Processes(worker, size, on_tick, repeats=repeats)
    return InProcess(worker, on_tick)
