"""Worker processes that die while they have nothing to do, or before they begin."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from fastdump.engine.executors import Progress
from fastdump.engine.executors.processes import Processes
from fastdump.errors import IncompleteError

pytestmark = pytest.mark.timeout(60)


class Idler:
    """Says in which process it is."""

    progress: Progress | None = None

    def pid(self, _job: int) -> int:
        assert self.progress is not None
        self.progress.add(1, 10)
        return os.getpid()

    def die(self, _job: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def close(self) -> None:
        """There is nothing to close."""


class Stillborn(Idler):
    """Ends its process as soon as it is there."""

    def __setattr__(self, name: str, value: object) -> None:
        os._exit(1)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("repeats", [True, False])
def test_an_idle_one_dies(waits: bool, repeats: bool) -> None:
    """The next job has not begun, so that no harm is done, not even to an archive."""
    totals = []
    found: dict[int, int] = {}
    with Processes(Idler(), 1, lambda *total: totals.append(total), repeats=repeats) as workers:

        def take(job: int, pid: int) -> None:
            found[job] = pid
            if job < 5:
                process = psutil.Process(pid)
                process.kill()
                if waits:
                    process.wait(10)
                workers.submit(Idler.pid, job + 1, take)

        workers.submit(Idler.pid, 0, take)
        workers.run()
    assert sorted(found) == list(range(6))
    assert len(set(found.values())) == 6
    assert totals[-1] == (6, 60)


def run(worker: Idler, work: Callable[[Idler, int], int], *, repeats: bool) -> None:
    with Processes(worker, 1, lambda *_: None, repeats=repeats) as workers:
        workers.submit(work, 7, lambda *_: None)
        workers.run()


def test_one_dies_of_its_job() -> None:
    with pytest.raises(IncompleteError, match="a worker process was killed while it worked on 7"):
        run(Idler(), Idler.die, repeats=False)


@pytest.mark.parametrize("repeats", [True, False])
def test_all_die_before_they_begin(repeats: bool) -> None:
    with pytest.raises(IncompleteError, match="3 worker processes were killed"):
        run(Stillborn(), Idler.pid, repeats=repeats)
