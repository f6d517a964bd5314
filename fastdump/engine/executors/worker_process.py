"""The part of the executor of processes that runs in each worker process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from types import FrameType
from typing import NamedTuple, NoReturn, TypeVar

from fastdump.engine.executors.interface import Progress, Worker

__all__ = ["Done", "Told", "begin", "call"]

W = TypeVar("W", bound=Worker)
Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")


class Told(NamedTuple):
    """A message from a worker: how much of a job it has done, with nothing when it begins it."""

    number: int
    """The job, counted from 1 among those of this process."""
    documents: int
    raw_bytes: int


Done = tuple[Result, int, int]
"""A result, and the documents and bytes of the whole job."""

_worker: Worker | None = None
_pipe: Pipe | None = None
_number = 0


def begin(worker: Worker, pipe: Pipe) -> None:
    """Run before the first job in every worker process."""
    global _worker, _pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _worker, _pipe = worker, pipe
    worker.progress = Progress(_tell)


def call(number: int, work: Callable[[W, Job], Result], job: Job) -> Done[Result]:
    """Run one job."""
    global _number
    _number = number
    assert _worker is not None  # noqa: S101 - set by `begin`
    assert _worker.progress is not None  # noqa: S101 - the same
    _worker.progress.begin()
    _tell(0, 0)
    result = work(_worker, job)  # type: ignore[arg-type]
    return result, _worker.progress.documents, _worker.progress.raw_bytes


def _tell(documents: int, raw_bytes: int) -> None:
    if _pipe is not None:
        with suppress(OSError):  # the coordinator may be gone; this process follows it soon
            _pipe.send(Told(_number, documents, raw_bytes))


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """End this process, as the coordinator wants."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # The signal may come while a generator is being finalized, where nothing can be raised: Python
    # would print a traceback of it, and the executor ends this process in any case.
    sys.unraisablehook = lambda _unraisable: None
    raise SystemExit(1)


def _follow_parent() -> None:
    """End with the coordinator, however it ended: no orphan goes on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
