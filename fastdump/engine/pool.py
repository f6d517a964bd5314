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
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, MutableSequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from types import FrameType, TracebackType
from typing import Generic, NoReturn, Protocol, TypeVar

from fastdump.engine.processes import warm_up, without_main_module
from fastdump.errors import IncompleteError

__all__ = ["Meter", "Worker", "WorkerPool"]

_TICK_SECONDS = 0.1
_MAX_DEATHS = 3
_START_SECONDS = 5
_END_SECONDS = 1.5
"""How long an interrupted worker may take to close its cursors."""


class Meter:
    """Documents and bytes done by one worker, readable by the coordinator while it works.

    Args:
        cells: where both are kept, in the first two.
        on_tick: called with both now and then, where the worker is the coordinator itself.
    """

    def __init__(
        self, cells: MutableSequence[int], on_tick: Callable[[int, int], None] | None = None
    ) -> None:
        self._cells = cells
        self._on_tick = on_tick
        self._ticked = time.monotonic()

    def add(self, documents: int, raw_bytes: int) -> None:
        """So much more is done."""
        self._cells[0] += documents
        self._cells[1] += raw_bytes
        if self._on_tick is not None and time.monotonic() - self._ticked > _TICK_SECONDS:
            self._ticked = time.monotonic()
            self._on_tick(*self.total)

    def reset(self, total: tuple[int, int]) -> None:
        """Forget what was done beyond that total."""
        self._cells[0], self._cells[1] = total

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
Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")

_worker: Worker | None = None
_cells: MutableSequence[int] = []


class _Process:
    """One worker process, as the coordinator knows it."""

    def __init__(self, worker: Worker) -> None:
        warm_up()
        self._cells = cells = RawArray("Q", 3)
        self.meter = Meter(cells)
        self._jobs = 0
        context = multiprocessing.get_context("forkserver")
        self.executor = ProcessPoolExecutor(1, context, _begin, (worker, cells))
        with without_main_module():
            # The process starts at the first job.
            self._pid = self.executor.submit(os.getpid)

    def submit(self, work: Callable[[W, Job], Result], job: Job) -> Future[Result]:
        """Have a job done there.

        Raises:
            BrokenProcessPool: the process is known to have died.
        """
        self._jobs += 1
        return self.executor.submit(_call, self._jobs, work, job)

    @property
    def has_begun(self) -> bool:
        """Whether it came to the last of its jobs."""
        return bool(self._cells[2] == self._jobs)

    def interrupt(self) -> None:
        """Have it leave its job: cursors are closed on the way out."""
        self._signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait for its end until that moment of the monotonic clock, then kill it."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        while self._signal(0) and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS / 10)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Send a signal; returns whether there was a process to send it to."""
        # One that is still starting could not be told otherwise to leave its first job.
        with suppress(BrokenProcessPool, CancelledError, ProcessLookupError, TimeoutError):
            os.kill(self._pid.result(_START_SECONDS), number)
            return True
        return False


class WorkerPool(Generic[W, Job, Result]):
    """Runs jobs on workers. A job whose worker dies is run again, so it must bear that.

    Args:
        worker: the state that each process gets a copy of.
        size: number of processes; 0 runs every job here, for work too small to start one.
        on_tick: called about ten times a second with documents and bytes done so far.
        repeats: whether a job may be done again when its worker died.
    """

    def __init__(
        self,
        worker: W,
        size: int,
        on_tick: Callable[[int, int], None],
        *,
        repeats: bool = True,
    ) -> None:
        self._repeats = repeats
        self._worker = worker
        self._size = size
        self._on_tick = on_tick
        self._pending: deque[tuple[Callable[[W, Job], Result], Job]] = deque()
        self._running: dict[Future[Result], _Running[W, Job, Result]] = {}
        self._processes: list[_Process] = []
        self._idle: list[_Process] = []
        self._meters: list[Meter] = []
        self._deaths = Counter[tuple[Job, bool]]()
        """How many workers died of a job, and how many before they began it."""

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
            for process in self._processes:
                process.interrupt()
            deadline = time.monotonic() + _END_SECONDS
            for process in self._processes:
                process.end(deadline)
        for process in self._processes:
            process.executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, work: Callable[[W, Job], Result], job: Job) -> None:
        """Have a method of the worker run with that job, after those submitted before."""
        self._pending.append((work, job))

    def submit_next(self, work: Callable[[W, Job], Result], job: Job) -> None:
        """The same, but before all that wait."""
        self._pending.appendleft((work, job))

    def results(self) -> Iterator[tuple[Job, Result]]:
        """Every job with its result, as they finish, until none is left.

        More may be submitted meanwhile. What a job raises is raised here.

        Raises:
            IncompleteError: a job has cost three workers their lives, or one that none may repeat.
        """
        yield from self._run_elsewhere() if self._size else self._run_here()
        self._tick()

    def _run_here(self) -> Iterator[tuple[Job, Result]]:
        self._worker.meter = Meter([0, 0], self._on_tick)
        self._meters.append(self._worker.meter)
        while self._pending:
            work, job = self._pending.popleft()
            yield job, work(self._worker, job)
            self._tick()

    def _run_elsewhere(self) -> Iterator[tuple[Job, Result]]:
        while self._pending or self._running:
            self._dispatch()
            done, _running = wait(self._running, _TICK_SECONDS, FIRST_COMPLETED)
            for future in done:
                running = self._running.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    self._bury(running)
                    continue
                # Before the result is looked at, so that the process does not wait for that.
                self._idle.append(running.process)
                self._dispatch()
                yield running.job, future.result()
            self._tick()

    def _dispatch(self) -> None:
        while self._pending and (self._idle or len(self._processes) < self._size):
            process = self._idle.pop() if self._idle else self._start()
            work, job = self._pending.popleft()
            running = _Running(process, work, job, process.meter.total)
            try:
                future = process.submit(work, job)
            except BrokenProcessPool:
                self._bury(running)
            else:
                self._running[future] = running

    def _start(self) -> _Process:
        process = _Process(self._worker)
        self._processes.append(process)
        self._meters.append(process.meter)
        return process

    def _bury(self, running: _Running[W, Job, Result]) -> None:
        """A worker died of this job, or before it: what it did of it does not count.

        Raises:
            IncompleteError: too many did.
        """
        running.process.meter.reset(running.meter_before)
        running.process.executor.shutdown(wait=False)
        self._processes.remove(running.process)
        # What was not begun can be done by another, even where nothing can be done again.
        begun = running.process.has_begun
        most = 1 if begun and not self._repeats else _MAX_DEATHS
        self._deaths[running.job, begun] += 1
        if self._deaths[running.job, begun] >= most:
            deaths = f"{most} worker processes were killed while they"
            if most == 1:
                deaths = "a worker process was killed while it"
            raise IncompleteError(
                f"{deaths} worked on {running.job}: if memory ran out, use fewer workers (-j)"
            )
        self._pending.appendleft((running.work, running.job))

    def _tick(self) -> None:
        totals = [meter.total for meter in self._meters]
        self._on_tick(sum(total[0] for total in totals), sum(total[1] for total in totals))


@dataclass(frozen=True, slots=True)
class _Running(Generic[W, Job, Result]):
    process: _Process
    work: Callable[[W, Job], Result]
    job: Job
    meter_before: tuple[int, int]


def _begin(worker: Worker, cells: MutableSequence[int]) -> None:
    """Runs first in every worker process."""
    global _worker, _cells
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    worker.meter = Meter(cells)
    _worker, _cells = worker, cells


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """The coordinator wants this process to end."""
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


def _call(number: int, work: Callable[[W, Job], Result], job: Job) -> Result:
    _cells[2] = number
    return work(_worker, job)  # type: ignore[arg-type]
