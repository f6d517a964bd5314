"""The interface of executors and workers. Each worker runs one job at a time.

A job is a small picklable value, such as a chunk; a method of the worker runs it, and its result is
small too. Documents never leave the worker. An executor on other machines needs nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

__all__ = ["Executor", "Progress", "Tick", "Worker"]

Tick = Callable[[int, int], None]
"""A function that is called with the documents done so far, and their size in bytes of BSON."""

_TELL_SECONDS = 0.1
"""Least time between two messages of progress, in seconds."""


class Progress:
    """Progress of a worker in its present job, to which several threads may add.

    Args:
        tell: called with the documents and bytes of this job, at most ten times a second.
    """

    def __init__(self, tell: Tick) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._told = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """Reset the counters, because a job begins."""
        self.documents = 0
        self.raw_bytes = 0

    def add(self, documents: int, raw_bytes: int) -> None:
        """Count documents that were just processed; negative numbers take them back."""
        with self._lock:
            self.documents += documents
            self.raw_bytes += raw_bytes
            if time.monotonic() - self._told > _TELL_SECONDS:
                self._told = time.monotonic()
                self._tell(self.documents, self.raw_bytes)


class Worker(Protocol):
    """The object whose methods run the jobs. Each process gets a pickled copy, so it is small."""

    progress: Progress | None
    """Counter of progress, which the executor sets before the first job."""

    def close(self) -> None:
        """Close connections and files, in the process that opened them."""


W = TypeVar("W", bound=Worker)
Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")


class Executor(AbstractContextManager["Executor[W]"], Protocol[W]):
    """A queue of jobs that run on workers. Jobs begin in the order of submission, end in any order.

    Leaving the context ends all workers. An exception that leaves it interrupts them first.
    """

    def submit(
        self,
        work: Callable[[W, Job], Result],
        job: Job,
        then: Callable[[Job, Result], None],
        *,
        first: bool = False,
    ) -> None:
        """Add a job to the queue.

        Args:
            work: the worker's method that runs it.
            job: the argument of that method.
            then: called in the coordinator with the job and its result; may submit more jobs.
            first: put the job before all that are waiting.
        """

    def run(self) -> None:
        """Run all jobs, and return when they are done. An exception of a job is raised here.

        Raises:
            IncompleteError: workers died while they ran a job that cannot be tried again.
        """
