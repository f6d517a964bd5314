"""A separate process that holds a server's lock, so that a killed backup does not leave it locked.

A pipe connects it to the backup. When the backup ends in any way, the pipe closes and the process
unlocks the server.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe

from fastdump.engine.executors.forkserver import warm_up, without_main_module
from fastdump.errors import FastdumpError, ServerError, StorageError
from fastdump.model import Connection, Namespace
from fastdump.mongo.fsync_lock import HeldLock

__all__ = ["LockHolder"]

_ALIVE_SECONDS = 1.0
"""Interval between uses of the lock's connection, in seconds."""

_END_SECONDS = 5.0
_TO_LOCK_SECONDS = 60.0
"""Seconds to wait for the lock: running writes must end first, and all new ones wait meanwhile."""


class LockHolder:
    """Handle of the process that holds a server's lock from `start` to `end`.

    Args:
        connection: the server.
        namespace: a collection that exists there.
        max_seconds: the longest time to hold the lock; None for no limit.

    Raises:
        StorageError: no process can be started.
    """

    def __init__(
        self, connection: Connection, namespace: Namespace, max_seconds: float | None
    ) -> None:
        try:
            warm_up()
        except OSError as error:
            raise StorageError(
                "--consistency lock cannot start its second process, because no folder for "
                "temporary files can be written: set TMPDIR to a writable folder"
            ) from error
        self._connection = connection
        self._max_seconds = max_seconds
        self._pipe, its_pipe = multiprocessing.Pipe()
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(
            target=_hold, args=(connection, namespace, max_seconds, its_pipe), daemon=True
        )
        with without_main_module():
            self._process.start()
        its_pipe.close()

    def start(self) -> datetime:
        """Wait until the server is locked, and return the time at which it was.

        Raises:
            ServerError: the server cannot be locked.
        """
        seconds = min(self._max_seconds or _TO_LOCK_SECONDS, _TO_LOCK_SECONDS)
        if not self._pipe.poll(seconds + _END_SECONDS):
            raise ServerError(
                f"{self._connection.shown} could not be locked within {seconds:.0f} s, because a "
                "write takes longer than that: find it with db.currentOp(), and try again after it"
            )
        locked = self._received()
        if isinstance(locked, datetime):
            return locked
        raise ServerError(locked)

    def check(self) -> None:
        """Check that the server is still locked.

        Raises:
            ServerError: the server is no longer locked.
        """
        if self._pipe.poll():
            raise ServerError(self._received())

    def end(self) -> None:
        """Unlock the server.

        Raises:
            ServerError: the server was no longer locked, or cannot be unlocked.
        """
        with suppress(OSError):
            self._pipe.send(None)
        if complaint := self._received():
            raise ServerError(complaint)

    def close(self) -> bool:
        """End the process, in any state, and return True if it unlocked the server."""
        self._pipe.close()
        self._process.join(_END_SECONDS)
        return self._process.exitcode == 0

    def _received(self) -> datetime | str:
        try:
            received: datetime | str = self._pipe.recv()
        except (EOFError, OSError):
            return (
                f"the process that kept {self._connection.shown} locked was killed: run fastdump "
                "unlock to make sure that the server is unlocked"
            )
        return received


def _hold(
    connection: Connection, namespace: Namespace, max_seconds: float | None, pipe: Pipe
) -> None:
    """Hold the lock; runs in the process: lock, report that, wait for the end, unlock, report."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the coordinator's to handle
    lock = HeldLock(connection, namespace)
    try:
        lock.take()
    except FastdumpError as error:
        _tell(pipe, str(error))
        return
    until = time.monotonic() + max_seconds if max_seconds else None
    _tell(pipe, datetime.now(UTC))
    is_late = False
    while not is_late and not pipe.poll(_ALIVE_SECONDS):
        lock.keep_alive()
        is_late = until is not None and time.monotonic() > until
    _tell(pipe, _release(lock, connection, max_seconds if is_late else None))


def _release(lock: HeldLock, connection: Connection, late: float | None) -> str:
    """Unlock the server; return what went wrong, or an empty text."""
    try:
        was_locked = lock.release()
    except FastdumpError as error:
        return f"{connection.shown} is still locked: {error}; run fastdump unlock to unlock it"
    if late:
        return (
            f"{connection.shown} was locked for {late:.0f} s, which is the limit, so it was "
            "unlocked and the command failed: allow more with --max-lock-seconds"
        )
    if not was_locked:
        return (
            f"{connection.shown} was unlocked by somebody else, or restarted, while it was read: "
            "the documents are not of one moment; run the same command again"
        )
    return ""


def _tell(pipe: Pipe, what: datetime | str) -> None:
    # The backup may have ended.
    with suppress(OSError):
        pipe.send(what)
