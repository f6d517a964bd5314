"""Start processes by forkserver, and find out if that is possible on this machine."""

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

# Python's helper processes run with -c, which would import a signal.py of the current folder.
_SAFE = {"PYTHONSAFEPATH": "1"}

_TIDIED = "ignore:resource_tracker:UserWarning"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the C library keeps semaphores there, nowhere else
_LONGEST_FOLDER = 107 - len("/pymp-xxxxxxxx/listener-xxxxxxxx")
"""The most bytes in the name of a folder for a socket: a socket's whole path may have 107, as
unix(7) says."""
_OF_WORKERS = ("fastdump.engine.", "fastdump.layouts.", "fastdump.repository.", "fastdump.storage.")
"""The modules that a worker needs too, if this process has loaded them for its command."""
_is_warm = False


def warm_up() -> None:
    """Start the forkserver, so that it loads its modules while the plan is still being made.

    Raises:
        OSError: there is no writable folder for its socket.
    """
    global _is_warm
    context = multiprocessing.get_context("forkserver")
    loaded = [name for name in sys.modules if name.startswith(_OF_WORKERS)]
    context.set_forkserver_preload(["fastdump.engine.executors.forkserver_hook", *loaded])
    # Workers inherit the forkserver's environment.
    with _environment({**_ALLOCATOR, **_SAFE}), _temporary_folder():
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
    """Silence Python's resource tracker, if it is started inside the context.

    If this process ends without running the interpreter's exit handlers, the tracker removes the
    semaphores and prints a warning for each, which means nothing to a user.
    """
    sys.warnoptions.append(_TIDIED)
    try:
        yield
    finally:
        sys.warnoptions.remove(_TIDIED)


def cool_down() -> None:
    """Remove the folder of the forkserver's socket, as the interpreter's exit handlers would."""
    if _is_warm:
        shutil.rmtree(util.get_temp_dir(), ignore_errors=True)


def processes(wanted: int, reporter: Reporter) -> int:
    """Return the number of worker processes that can be started: the wanted number, or 0.

    If none can be started, as in a container without any writable folder, the coordinator does the
    work, and a note tells the user why.
    """
    if not wanted:
        return 0
    try:
        warm_up()
        multiprocessing.get_context("forkserver").Lock()
    except OSError as error:
        reporter.note(
            f"one process does all the work, because {_SHARED_MEMORY} cannot be written "
            f"({error.strerror}); mount a tmpfs there to use several processes"
        )
        return 0
    return wanted


@contextmanager
def _temporary_folder() -> Iterator[None]:
    """Put the forkserver's socket into shared memory, if no other folder is fit for it."""
    try:
        is_fit = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER
    except FileNotFoundError:
        is_fit = False
    before = tempfile.tempdir
    tempfile.tempdir = before if is_fit else _SHARED_MEMORY
    try:
        yield
    finally:
        # Large files do not belong into shared memory.
        tempfile.tempdir = before


@contextmanager
def without_main_module() -> Iterator[None]:
    """Keep processes that start inside the context from importing the main module again.

    Workers need nothing of it. Importing it costs 60 ms in each, and would start the work once more
    if a program calls fastdump outside of `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes that start inside; the user's own values win."""
    added = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
