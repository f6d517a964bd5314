"""The executor without other processes: this process runs all jobs, one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Generic, TypeVar

from fastdump.engine.executors.interface import Progress, Tick, Worker

__all__ = ["InProcess"]

W = TypeVar("W", bound=Worker)
Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")


class InProcess(Generic[W]):
    """Executor for small work, which is done before another process would have started.

    Args:
        worker: the worker that runs the jobs.
        on_tick: called with the progress.
    """

    def __init__(self, worker: W, on_tick: Tick) -> None:
        self._worker = worker
        self._on_tick = on_tick
        self._pending = deque[Callable[[], None]]()
        self._done = (0, 0)
        """Number of documents and bytes of the jobs that have ended."""

    def __enter__(self) -> InProcess[W]:
        self._worker.progress = self._progress = Progress(self._tick)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.close()

    def submit(
        self,
        work: Callable[[W, Job], Result],
        job: Job,
        then: Callable[[Job, Result], None],
        *,
        first: bool = False,
    ) -> None:
        """Add a job to the queue; see `Executor.submit`."""

        def do() -> None:
            self._progress.begin()
            result = work(self._worker, job)
            documents, raw_bytes = self._done
            self._done = documents + self._progress.documents, raw_bytes + self._progress.raw_bytes
            self._progress.begin()
            then(job, result)

        (self._pending.appendleft if first else self._pending.append)(do)

    def run(self) -> None:
        """Run all jobs."""
        while self._pending:
            self._pending.popleft()()
            self._tick(0, 0)
        self._tick(0, 0)

    def _tick(self, documents: int, raw_bytes: int) -> None:
        self._on_tick(self._done[0] + documents, self._done[1] + raw_bytes)
