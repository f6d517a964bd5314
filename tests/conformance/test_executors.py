"""Every executor does the same with the same jobs, whoever does the work."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from fastdump.engine.executors import Executor, Progress, Tick, executor
from fastdump.errors import IncompleteError, ServerError

pytestmark = pytest.mark.timeout(60)

SIZES = (0, 1, 2)
"""Numbers of processes; 0 is the executor that has none."""


class Worker:
    """Does what the tests need."""

    progress: Progress | None = None
    closed = 0

    def double(self, job: int) -> int:
        return 2 * job

    def count(self, job: int) -> int:
        """Count that many documents of ten bytes, for longer than the time between two ticks."""
        assert self.progress is not None
        for _document in range(job):
            self.progress.add(1, 10)
        time.sleep(0.15)
        self.progress.add(0, 0)
        return os.getpid()

    def count_again(self, job: int) -> int:
        """Count, find that in vain, and begin again."""
        self.count(job)
        assert self.progress is not None
        self.progress.begin()
        return self.count(job)

    def fail(self, job: int) -> int:
        raise ServerError(f"the server refuses {job}")

    def wait(self, job: Path) -> int:
        """Say who waits, then wait for what never comes."""
        (job / str(os.getpid())).touch()
        while True:
            time.sleep(60)

    def die_once(self, job: Path) -> int:
        if not job.exists():
            job.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def silent(documents: int, raw_bytes: int) -> None:
    """Nobody listens."""


def run(size: int, jobs: list[int], tick: Tick = silent) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    with executor(Worker(), size, tick) as workers:
        for job in jobs:
            workers.submit(Worker.double, job, lambda *one: found.append(one))
        workers.run()
    return found


def do(size: int, *tasks: tuple[Any, Any], tick: Tick = silent, repeats: bool = True) -> list[Any]:
    """Have tasks done, each a method of the worker with its job; returns the results."""
    found: list[Any] = []
    with executor(Worker(), size, tick, repeats=repeats) as workers:
        for work, job in tasks:
            workers.submit(work, job, lambda _job, result: found.append(result))
        workers.run()
    return found


def children() -> set[int]:
    """The processes of this one, but for the forkserver and the tracker that come with it."""
    found = psutil.Process().children(recursive=True)
    return {one.pid for one in found if one.status() != psutil.STATUS_ZOMBIE}


def test_each_job_has_one_result(size: int) -> None:
    assert sorted(run(size, list(range(20)))) == [(job, 2 * job) for job in range(20)]


def test_one_worker_keeps_the_order_of_submission() -> None:
    for size in (0, 1):
        assert run(size, [3, 1, 2]) == [(3, 6), (1, 2), (2, 4)]


def test_a_result_may_bring_further_jobs_that_come_first() -> None:
    for size in (0, 1):
        found: list[int] = []
        with executor(Worker(), size, silent) as workers:

            def take(
                job: int,
                _result: int,
                workers: Executor[Worker] = workers,
                found: list[int] = found,
            ) -> None:
                found.append(job)
                if job < 10:
                    workers.submit(Worker.double, job + 10, take, first=True)

            for job in (1, 2, 3):
                workers.submit(Worker.double, job, take)
            workers.run()
        # A process has its next job before the result of the last is looked at.
        assert sorted(found) == [1, 2, 3, 11, 12, 13]
        assert found.index(11) < found.index(3)


def test_no_job_is_no_work(size: int) -> None:
    assert run(size, []) == []


def test_what_a_job_raises_is_raised(size: int) -> None:
    before = children()
    with pytest.raises(ServerError, match="refuses 2"):
        do(size, (Worker.double, 1), (Worker.fail, 2))
    assert len(children() - before) <= 2


def test_progress_is_told_and_ends_with_the_sum(size: int) -> None:
    totals: list[tuple[int, int]] = []
    tasks = [(Worker.count, number) for number in (100, 200, 300)]
    do(size, *tasks, tick=lambda *total: totals.append(total))
    assert totals[-1] == (600, 6000)
    assert totals == sorted(totals)
    assert len(set(totals)) > 2  # also in between


def test_what_was_in_vain_does_not_count(size: int) -> None:
    totals: list[tuple[int, int]] = []
    do(size, (Worker.count_again, 100), tick=lambda *total: totals.append(total))
    assert totals[-1] == max(totals) == (100, 1000)


def test_the_worker_is_closed(size: int) -> None:
    worker = Worker()
    with executor(worker, size, silent) as workers:
        workers.submit(Worker.double, 1, lambda *_: None)
        workers.run()
    assert worker.closed == 1


@pytest.mark.parametrize("size", SIZES[1:])
def test_an_interrupted_one_leaves_no_process(size: int, tmp_path: Path) -> None:
    """As Ctrl-C does: every worker is in the middle of a job that does not end."""

    def interrupt(_documents: int, _raw_bytes: int) -> None:
        if len(list(tmp_path.iterdir())) == size:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(size, *[(Worker.wait, tmp_path)] * size, tick=interrupt)
    assert not any(psutil.pid_exists(int(path.name)) for path in tmp_path.iterdir())


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_killed_worker_has_its_job_done_again(size: int, tmp_path: Path) -> None:
    assert len(do(size, (Worker.die_once, tmp_path / "died"))) == 1
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_job_that_none_may_repeat_ends_with_its_worker(size: int, tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match="a worker process was killed while it worked on"):
        do(size, (Worker.die_once, tmp_path / "died"), repeats=False)
