"""Who does the work on documents: this process, or several."""

from __future__ import annotations

from typing import TypeVar

from fastdump.engine.executors.in_process import InProcess
from fastdump.engine.executors.interface import Executor, Progress, Tick, Worker
from fastdump.engine.executors.processes import Processes

__all__ = ["Executor", "Progress", "Tick", "Worker", "executor"]

W = TypeVar("W", bound=Worker)


def executor(worker: W, size: int, on_tick: Tick, *, repeats: bool = True) -> Executor[W]:
    """Return what does the work.

    Args:
        worker: the state that each process gets a copy of.
        size: number of processes; 0 is this one alone.
        on_tick: is told of the progress.
        repeats: whether a job may be done again when its worker died.
    """
    if size:
        return Processes(worker, size, on_tick, repeats=repeats)
    return InProcess(worker, on_tick)
