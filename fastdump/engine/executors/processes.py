"""The executor of several processes on this machine.

Each worker is a pool of one process. So when a process is killed, the job that it was running is
known, and no other worker is affected. (`multiprocessing.Pool` would wait for ever, and a pool of
many processes would fail every job without naming the one to blame.) Processes start by forkserver,
which has the modules loaded, and has no client and no threads that a fork would copy.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from fastdump.engine.executors.forkserver import warm_up, without_main_module
from fastdump.engine.executors.interface import Tick, Worker
from fastdump.engine.executors.worker_process import Done, Told, begin, call
from fastdump.errors import IncompleteError

__all__ = ["Processes"]

_TICK_SECONDS = 0.1
"""Interval between reports of progress, in seconds."""
_MAX_DEATHS = 3
"""Number of workers that may die of one job before the command fails."""
_START_SECONDS = 5
"""Longest time to wait until a process has started, in seconds, before it is interrupted."""
_END_SECONDS = 5.0
"""Longest time that an interrupted worker has to close its cursors, in seconds. It needs a few
milliseconds, but far more on a busy machine or to a distant server."""

W = TypeVar("W", bound=Worker)
Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Task:
    """A job, the method that runs it, and the function that takes its result."""

    work: Callable[[Any, Any], Any]
    job: Hashable
    then: Callable[[Any, Any], None]


class _Process:
    """The coordinator's handle of one worker process."""

    def __init__(self, worker: Worker) -> None:
        warm_up()
        self._pipe, its_pipe = multiprocessing.Pipe(duplex=False)
        self._jobs = 0
        self._told = Told(0, 0, 0)
        context = multiprocessing.get_context("forkserver")
        self._executor = ProcessPoolExecutor(1, context, begin, (worker, its_pipe))
        with without_main_module():
            # The process starts at the first job.
            self._pid = self._executor.submit(os.getpid)
        its_pipe.close()

    def submit(self, task: _Task) -> Future[Done[Any]]:
        """Run a job in the process.

        Raises:
            BrokenProcessPool: the process has died.
        """
        self._jobs += 1
        return self._executor.submit(call, self._jobs, task.work, task.job)

    @property
    def told(self) -> tuple[int, int]:
        """The documents and bytes of its present job, from its last message."""
        with suppress(EOFError, OSError):
            while self._pipe.poll():
                self._told = self._pipe.recv()
        return self._told[1:] if self.has_begun else (0, 0)

    @property
    def has_begun(self) -> bool:
        """True if the process has sent a message that it began its last job."""
        return self._told.number == self._jobs

    def forget(self) -> None:
        """Drop the progress of the last job, which has ended."""
        self._told = Told(0, 0, 0)
        self._jobs += 1  # a late message of that job matches no number

    def interrupt(self) -> None:
        """Interrupt the job of the process, which closes its cursors as it ends."""
        self._signal(signal.SIGTERM)

    def end(self, deadline: float) -> None:
        """Wait for the end of the process until a time of the monotonic clock, then kill it."""
        self.close(wait=False)
        while self._signal(0) and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS / 10)
        self._signal(signal.SIGKILL)

    def close(self, *, wait: bool) -> None:
        """Accept no more jobs."""
        self._executor.shutdown(wait=wait, cancel_futures=True)
        if wait:
            self._pipe.close()

    def _signal(self, number: int) -> bool:
        """Send a signal; return False if there is no process."""
        # Wait for a process that is still starting: it would miss the signal and run its first job.
        with suppress(BrokenProcessPool, CancelledError, ProcessLookupError, TimeoutError):
            os.kill(self._pid.result(_START_SECONDS), number)
            return True
        return False


class Processes(Generic[W]):
    """Executor of several processes. A job whose worker dies runs again, so it must be repeatable.

    Args:
        worker: the worker, of which each process gets a copy.
        size: the number of processes, at least 1.
        on_tick: called with the progress about ten times a second.
        repeats: True if a job may run again after its worker died.
    """

    def __init__(self, worker: W, size: int, on_tick: Tick, *, repeats: bool = True) -> None:
        self._repeats = repeats
        self._worker = worker
        self._size = size
        self._on_tick = on_tick
        self._pending = deque[_Task]()
        self._running: dict[Future[Done[Any]], tuple[_Process, _Task]] = {}
        self._processes: list[_Process] = []
        self._idle: list[_Process] = []
        self._done = (0, 0)
        """Number of documents and bytes of the jobs that have ended."""
        self._deaths = Counter[tuple[Hashable, bool]]()
        """Number of workers that died, by job, and by True if they had begun the job."""

    def __enter__(self) -> Processes[W]:
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
            process.close(wait=True)

    def submit(
        self,
        work: Callable[[W, Job], Result],
        job: Job,
        then: Callable[[Job, Result], None],
        *,
        first: bool = False,
    ) -> None:
        """Add a job to the queue; see `Executor.submit`."""
        task = _Task(work, job, then)
        (self._pending.appendleft if first else self._pending.append)(task)

    def run(self) -> None:
        """Run all jobs, and return when they are done. An exception of a job is raised here.

        Raises:
            IncompleteError: three workers died of one job, or one worker of a job that must not be
                repeated.
        """
        while self._pending or self._running:
            self._dispatch()
            done, _running = wait(self._running, _TICK_SECONDS, FIRST_COMPLETED)
            for future in done:
                self._end(future, *self._running.pop(future))
            self._tick()
        self._tick()

    def _end(self, future: Future[Done[Any]], process: _Process, task: _Task) -> None:
        if isinstance(future.exception(), BrokenProcessPool):
            self._bury(process, task)
            return
        process.forget()
        # Give the process its next job before the result is handled, so that it does not wait.
        self._idle.append(process)
        self._dispatch()
        result, documents, raw_bytes = future.result()
        self._done = self._done[0] + documents, self._done[1] + raw_bytes
        task.then(task.job, result)

    def _dispatch(self) -> None:
        while self._pending and (self._idle or len(self._processes) < self._size):
            process = self._idle.pop() if self._idle else self._start()
            task = self._pending.popleft()
            try:
                self._running[process.submit(task)] = process, task
            except BrokenProcessPool:
                self._bury(process, task)

    def _start(self) -> _Process:
        process = _Process(self._worker)
        self._processes.append(process)
        return process

    def _bury(self, process: _Process, task: _Task) -> None:
        """Remove a worker that died, and put its job back into the queue.

        Raises:
            IncompleteError: too many workers died of this job.
        """
        _told = process.told
        # A job that was not begun can be given to another worker, even if jobs cannot be repeated.
        begun = process.has_begun
        process.close(wait=False)
        self._processes.remove(process)
        most = 1 if begun and not self._repeats else _MAX_DEATHS
        self._deaths[task.job, begun] += 1
        if self._deaths[task.job, begun] >= most:
            deaths = f"{most} worker processes were killed while they"
            if most == 1:
                deaths = "a worker process was killed while it"
            raise IncompleteError(
                f"{deaths} worked on {task.job}: if memory ran out, use fewer workers (-j)"
            )
        self._pending.appendleft(task)

    def _tick(self) -> None:
        told = [process.told for process in self._processes]
        self._on_tick(
            self._done[0] + sum(one[0] for one in told), self._done[1] + sum(one[1] for one in told)
        )
