"""A process of its own that holds a server's lock, so that the lock ends whatever ends the backup.

It hears by the pipe between them when the backup has ended, also when that was killed.
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
"""How often the lock's own connection is used."""

_END_SECONDS = 5.0
_TO_LOCK_SECONDS = 60.0
"""How long writes that have begun may take to end, while all others wait for that already."""


class LockHolder:
    """Holds the lock of a server from `start` to `end`.

    Args:
        connection: the server.
        namespace: a collection that exists there.
        max_seconds: for how long at most; None is as long as it takes.

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
                "--consistency lock takes a second process, for which no folder for temporary "
                "files can be written: name one with TMPDIR"
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
        """Wait until the server is locked; returns when that was.

        Raises:
            ServerError: it cannot be locked.
        """
        seconds = min(self._max_seconds or _TO_LOCK_SECONDS, _TO_LOCK_SECONDS)
        if not self._pipe.poll(seconds + _END_SECONDS):
            raise ServerError(
                f"{self._connection.shown} could not be locked within {seconds:.0f} s, because "
                "something writes for longer than that: look there with db.currentOp()"
            )
        locked = self._received()
        if isinstance(locked, datetime):
            return locked
        raise ServerError(locked)

    def check(self) -> None:
        """See that the server is still locked.

        Raises:
            ServerError: it is not.
        """
        if self._pipe.poll():
            raise ServerError(self._received())

    def end(self) -> None:
        """Unlock the server.

        Raises:
            ServerError: it was not locked any more, or cannot be unlocked.
        """
        with suppress(OSError):
            self._pipe.send(None)
        if complaint := self._received():
            raise ServerError(complaint)

    def close(self) -> bool:
        """Let go, whatever happened before; returns whether the server is unlocked by that."""
        self._pipe.close()
        self._process.join(_END_SECONDS)
        return self._process.exitcode == 0

    def _received(self) -> datetime | str:
        try:
            received: datetime | str = self._pipe.recv()
        except (EOFError, OSError):
            return (
                f"the process that kept {self._connection.shown} locked was killed; see that it "
                "is unlocked: fastdump unlock"
            )
        return received


def _hold(
    connection: Connection, namespace: Namespace, max_seconds: float | None, pipe: Pipe
) -> None:
    """Runs in the process: lock, tell so, wait for the end, unlock, tell how that went."""
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
    """Unlock; returns what is wrong, or nothing."""
    try:
        was_locked = lock.release()
    except FastdumpError as error:
        return f"{connection.shown} is still locked: {error}; unlock it with fastdump unlock"
    if late:
        return (
            f"{connection.shown} was locked for {late:.0f} s, which was to be the limit: it is "
            "unlocked, and nothing is kept; --max-lock-seconds allows more"
        )
    if not was_locked:
        return (
            f"{connection.shown} was unlocked by somebody else, or restarted, while it was read: "
            "what was read is not of one moment"
        )
    return ""


def _tell(pipe: Pipe, what: datetime | str) -> None:
    # Nobody may be there any more.
    with suppress(OSError):
        pipe.send(what)
