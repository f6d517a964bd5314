"""The part of the `Processes` executor that runs inside each worker process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple, TypeVar

from fastdump.engine.executors.interface import Progress, Worker
from fastdump.signals import end_by

__all__ = ["Done", "Told", "begin", "call"]

W = TypeVar("W", bound=Worker)
Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")


class Told(NamedTuple):
    """A message from a worker: its progress in a job; the first one, when it begins, has zeros."""

    number: int
    """Number of the job, counted from 1 in this process."""
    documents: int
    """Number of documents done so far."""
    raw_bytes: int
    """Their size in bytes of BSON."""


Done = tuple[Result, int, int]
"""The result of a job, and the number of documents and bytes of the whole job."""

_worker: Worker | None = None
_pipe: Pipe | None = None
_number = 0


def begin(worker: Worker, pipe: Pipe) -> None:
    """Prepare a worker process; runs in it before the first job."""
    global _worker, _pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    end_by(signal.SIGTERM, lambda: SystemExit(1), signal.SIG_IGN)
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


def _follow_parent() -> None:
    """End this process when the coordinator ends, even if that was killed: no orphan writes on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
