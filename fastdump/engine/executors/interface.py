"""What does the work on documents: workers, each with one job at a time.

A job is a small picklable value, such as a chunk; a method of the worker does it, and its result is
small too. Documents never leave the worker. An executor on other machines needs nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

__all__ = ["Executor", "Progress", "Tick", "Worker"]

Tick = Callable[[int, int], None]
"""Is called with the number of documents and their bytes as BSON that are done so far."""

_TELL_SECONDS = 0.1


class Progress:
    """How much of its job a worker has done, told now and then.

    Args:
        tell: is called about ten times a second at most, with the documents and bytes of this job.
    """

    def __init__(self, tell: Tick) -> None:
        self._tell = tell
        self._told = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """Forget what is counted: a job begins, or begins again."""
        self.documents = 0
        self.raw_bytes = 0

    def add(self, documents: int, raw_bytes: int) -> None:
        """Count what was just done."""
        self.documents += documents
        self.raw_bytes += raw_bytes
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            self._tell(self.documents, self.raw_bytes)


class Worker(Protocol):
    """The state that each worker has: it is pickled when the worker starts, so it is small."""

    progress: Progress | None
    """Set by the executor before the first job."""

    def close(self) -> None:
        """Close what was opened, in the process that opened it."""


W = TypeVar("W", bound=Worker)
Job = TypeVar("Job", bound=Hashable)
Result = TypeVar("Result")


class Executor(AbstractContextManager["Executor[W]"], Protocol[W]):
    """Runs jobs on workers, in the order of their submission; they end in any order.

    Leaving the context ends all workers. If it is left by an exception, they are interrupted.
    """

    def submit(
        self,
        work: Callable[[W, Job], Result],
        job: Job,
        then: Callable[[Job, Result], None],
        *,
        first: bool = False,
    ) -> None:
        """Have a job done.

        Args:
            work: the worker's method that does it.
            job: the job.
            then: is called here with the job and its result; it may submit more.
            first: whether the job comes before all that wait.
        """

    def run(self) -> None:
        """Return when all jobs are done. What a job raises is raised here.

        Raises:
            IncompleteError: workers died of a job that cannot be tried again.
        """
