"""Starting processes by forkserver, and whether that is possible here."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, util
from types import ModuleType

from fastdump.progress import Reporter

__all__ = ["cool_down", "processes", "warm_up", "without_main_module"]

# With these, glibc keeps the memory of one batch for the next instead of giving it back to the
# kernel, which would zero it again: a third of a dump's time otherwise. See docs/performance.md.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "67108864"}

_TIDIED = "ignore:resource_tracker:UserWarning"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the C library keeps semaphores there, nowhere else
_is_warm = False


def warm_up() -> None:
    """Have the forkserver start and load its modules, while the plan is still being made.

    Raises:
        OSError: no folder can be written where its socket could be.
    """
    global _is_warm
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fastdump.engine.executors.forkserver_imports"])
    # Workers inherit the forkserver's environment.
    with _environment(_ALLOCATOR), _temporary_folder():
        with _quiet_tracker():
            resource_tracker.ensure_running()
        # Ctrl-C on a terminal reaches every process, and would end this one in a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        _is_warm = True


@contextmanager
def _quiet_tracker() -> Iterator[None]:
    """Have Python's resource tracker, if it is started within, tidy up without a word.

    If this process ends without what runs at an interpreter's exit, the tracker removes the
    semaphores and warns of each, which means nothing to a user.
    """
    sys.warnoptions.append(_TIDIED)
    try:
        yield
    finally:
        sys.warnoptions.remove(_TIDIED)


def cool_down() -> None:
    """Remove the folder of the forkserver's socket, which only an interpreter's exit would do."""
    if _is_warm:
        shutil.rmtree(util.get_temp_dir(), ignore_errors=True)


def processes(wanted: int, reporter: Reporter) -> int:
    """Return how many worker processes there can be: as many as wanted, or 0.

    Where none can be, as in a container that may write nowhere, the coordinator does the work, and
    it is said why.
    """
    if not wanted:
        return 0
    try:
        warm_up()
        multiprocessing.get_context("forkserver").Lock()
    except OSError as error:
        reporter.note(
            f"one process does all the work: {_SHARED_MEMORY} cannot be written "
            f"({error.strerror}); mount a tmpfs there to use several"
        )
        return 0
    return wanted


@contextmanager
def _temporary_folder() -> Iterator[None]:
    """Have the forkserver's socket made in shared memory, if no other folder can be written."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = _SHARED_MEMORY
        try:
            yield
        finally:
            # Large files do not belong there.
            tempfile.tempdir = None
    else:
        yield


@contextmanager
def without_main_module() -> Iterator[None]:
    """Processes started within do not import the main module again, as they otherwise would.

    Workers need nothing of it. It costs 60 ms in each, and would begin the work once more where
    a program calls fastdump outside of `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


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
