"""A pool of processes for the work on documents.

Each worker is an executor of one process, so that a worker that dies is known together with the
job that it died of, and takes no other with it. (`multiprocessing.Pool` waits for ever then, and
an executor of many processes fails every job without naming the culprit.) Processes start by
forkserver, which has the modules loaded and has neither client nor threads to copy.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, MutableSequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from fastdump.errors import IncompleteError

__all__ = ["Meter", "Worker", "WorkerPool", "default_workers"]

_TICK_SECONDS = 0.1
_MAX_DEFAULT_WORKERS = 4

# With these, glibc keeps the memory of one batch for the next instead of giving it back to the
# kernel, which would zero it again: a third of a dump's time otherwise. See docs/performance.md.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "67108864"}


def default_workers() -> int:
    """The smaller of 4 and the number of cores that this process may use."""
    return min(_MAX_DEFAULT_WORKERS, len(os.sched_getaffinity(0)))


class Meter:
    """Documents and bytes done by one worker, readable by the coordinator while it works."""

    def __init__(self, cells: MutableSequence[int]) -> None:
        self._cells = cells

    def add(self, documents: int, raw_bytes: int) -> None:
        """So much more is done."""
        self._cells[0] += documents
        self._cells[1] += raw_bytes

    @property
    def total(self) -> tuple[int, int]:
        """Documents and bytes so far."""
        return self._cells[0], self._cells[1]


class Worker(Protocol):
    """The state that every process has once: pickled when it starts, so it is small."""

    meter: Meter | None

    def close(self) -> None:
        """End what was opened, in the process that opened it."""


W = TypeVar("W", bound=Worker)
Job = TypeVar("Job")
Result = TypeVar("Result")

_worker: Worker | None = None


class WorkerPool(Generic[W, Job, Result]):
    """Runs jobs on workers.

    Args:
        worker: the state that each process gets a copy of.
        size: number of processes; 0 runs every job here, for work too small to start one.
        on_tick: called about ten times a second with documents and bytes done so far.
    """

    def __init__(self, worker: W, size: int, on_tick: Callable[[int, int], None]) -> None:
        self._worker = worker
        self._size = size
        self._on_tick = on_tick
        self._pending: deque[tuple[Callable[[W, Job], Result], Job]] = deque()
        self._running: dict[Future[Result], tuple[ProcessPoolExecutor, Job]] = {}
        self._executors: list[ProcessPoolExecutor] = []
        self._idle: list[ProcessPoolExecutor] = []
        self._processes: list[Future[int]] = []
        self._meters: list[Meter] = []

    def __enter__(self) -> WorkerPool[W, Job, Result]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.close()
        if error is not None:
            self._kill()
        for executor in self._executors:
            executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, work: Callable[[W, Job], Result], job: Job) -> None:
        """Have a method of the worker run with that job, after those submitted before."""
        self._pending.append((work, job))

    def results(self) -> Iterator[tuple[Job, Result]]:
        """Every job with its result, as they finish, until none is left.

        More may be submitted meanwhile. What a job raises is raised here.

        Raises:
            IncompleteError: a worker died.
        """
        yield from self._run_here() if not self._size else self._run_elsewhere()
        self._tick()

    def _run_here(self) -> Iterator[tuple[Job, Result]]:
        meter = self._new_meter([0, 0])
        self._worker.meter = meter
        while self._pending:
            work, job = self._pending.popleft()
            yield job, work(self._worker, job)
            self._tick()

    def _run_elsewhere(self) -> Iterator[tuple[Job, Result]]:
        while self._pending or self._running:
            self._dispatch()
            done, _running = wait(self._running, _TICK_SECONDS, FIRST_COMPLETED)
            for future in done:
                executor, job = self._running.pop(future)
                # Before the result is looked at, so that the process does not wait for that.
                self._idle.append(executor)
                self._dispatch()
                yield job, self._result(future, job)
            self._tick()

    def _dispatch(self) -> None:
        while self._pending and (self._idle or len(self._executors) < self._size):
            executor = self._idle.pop() if self._idle else self._start()
            work, job = self._pending.popleft()
            self._running[executor.submit(_call, work, job)] = executor, job

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["fastdump.engine.preload"])
        cells = RawArray("Q", 2)
        self._new_meter(cells)
        executor = ProcessPoolExecutor(1, context, _begin, (self._worker, cells))
        # The process starts at the first job, so the forkserver must start under this environment.
        with _environment(_ALLOCATOR):
            self._processes.append(executor.submit(os.getpid))
        self._executors.append(executor)
        return executor

    def _new_meter(self, cells: MutableSequence[int]) -> Meter:
        meter = Meter(cells)
        self._meters.append(meter)
        return meter

    def _result(self, future: Future[Result], job: Job) -> Result:
        try:
            return future.result()
        except BrokenProcessPool:
            raise IncompleteError(
                f"a worker process was killed while it worked on {job}: if memory ran out, "
                "use fewer workers (-j)"
            ) from None

    def _tick(self) -> None:
        totals = [meter.total for meter in self._meters]
        self._on_tick(sum(total[0] for total in totals), sum(total[1] for total in totals))

    def _kill(self) -> None:
        for process in self._processes:
            if process.done() and not process.exception():
                with suppress(ProcessLookupError):
                    os.kill(process.result(), signal.SIGTERM)


def _begin(worker: Worker, cells: MutableSequence[int]) -> None:
    """Runs first in every worker process."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    threading.Thread(target=_follow_parent, daemon=True).start()
    worker.meter = Meter(cells)
    _worker = worker


def _follow_parent() -> None:
    """End with the coordinator, however it ended: no orphan goes on writing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[[W, Job], Result], job: Job) -> Result:
    return work(_worker, job)  # type: ignore[arg-type]


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Those variables for processes started within; what the user has set wins."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
