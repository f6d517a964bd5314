"""The session of `--consistency lock`: read a server while it is locked against writes."""

from __future__ import annotations

import time
from collections.abc import Collection as Some
from contextlib import suppress
from datetime import datetime
from types import TracebackType

from fastdump.engine.sessions.lock_holder import LockHolder
from fastdump.engine.sessions.plain import ReadContext, Session
from fastdump.errors import FastdumpError, UsageError
from fastdump.model import (
    Catalog,
    Collection,
    Connection,
    Consistency,
    Namespace,
    ReadOptions,
)
from fastdump.mongo import fsync_lock
from fastdump.mongo.catalog import read_catalog
from fastdump.mongo.client import Client, translated
from fastdump.progress import Reporter

__all__ = ["LockSession", "release_stale"]

_TURNS, _TURN_SECONDS = 10, 0.1
"""Attempts to release a lock: the server needs a moment to notice that its connection is gone."""


class LockSession(Session):
    """Session that reads everything as it was when the server was locked.

    Args:
        context: the server, the selection, and the readers.
        how: the options of reading, with the maximum time of the lock.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: there are several servers, or only views to read.
    """

    mode = "lock"
    can_resume = False

    def __init__(self, context: ReadContext, how: ReadOptions) -> None:
        super().__init__(context)
        if len(self.readers) > 1:
            raise UsageError(
                "--consistency lock cannot be combined with a read preference that allows several "
                "members, because it locks one server: use --consistency snapshot"
            )
        with translated(self.readers[0]):
            fsync_lock.refuse_mongos(self.client, self.readers[0])
        found = read_catalog(self.client, self.readers[0], self.selection).collections
        some = next((one.data for one in found if one.has_data), None)
        if some is None:
            raise UsageError(
                "--consistency lock has no collection to lock, because the selection contains only "
                "views: use --consistency none"
            )
        self._some = some
        self._max_seconds = how.max_lock_seconds
        self._locked: datetime | None = None

    def __enter__(self) -> Session:
        """Lock the server."""
        self._holder = LockHolder(self.readers[0], self._some, self._max_seconds)
        try:
            self._locked = self._holder.start()
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unlock the server, if `finish` has not done so."""
        self._let_go()

    def _let_go(self) -> None:
        if self._holder.close():
            return
        # The process that holds the lock was killed, or is still trying to unlock.
        with suppress(FastdumpError):
            for _turn in range(_TURNS):
                release_stale(self.client, self.readers[0], self.reporter)
                time.sleep(_TURN_SECONDS)
        self.reporter.note(
            f"{self.readers[0].shown} may still be locked: run fastdump unlock to unlock it"
        )

    def is_settled(self, collection: Collection) -> bool:  # noqa: ARG002
        """Return True: nobody can write while the server is locked."""
        return True

    def check(self, documents: int, raw_bytes: int) -> None:  # noqa: ARG002
        """Check that the server is still locked."""
        self._holder.check()

    def finish(self, catalog: Catalog, gone: Some[Namespace]) -> tuple[Catalog, Consistency]:  # noqa: ARG002 - nothing can go
        """Unlock the server, which also confirms that it was locked until now."""
        self._holder.end()
        return catalog, Consistency(self.mode, self._locked)


def release_stale(client: Client, connection: Connection, reporter: Reporter) -> None:
    """Unlock a server that is still locked by a run that no longer exists.

    Raises:
        ServerError: the server cannot be reached, or the user lacks the right to unlock it.
    """
    with translated(connection):
        for holder in fsync_lock.holders(client):
            if not holder.alive and fsync_lock.release(client, holder):
                reporter.note(
                    f"{connection.shown} was still locked by a backup that was killed; it is "
                    "unlocked now"
                )
