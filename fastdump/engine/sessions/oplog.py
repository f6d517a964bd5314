"""Reading whenever it comes to each document, and beside that every operation meanwhile.

A restore that replays those makes one moment of it: that of the last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from collections.abc import Collection as Some
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from fastdump.codec.bson import Batch
from fastdump.engine.sessions.plain import ReadContext, Session
from fastdump.errors import UsageError
from fastdump.model import (
    NO_OPTIONS,
    OPLOG,
    Catalog,
    Chunk,
    ClusterTime,
    Collection,
    CollectionKind,
    Consistency,
    Namespace,
)
from fastdump.mongo import oplog
from fastdump.mongo.catalog import is_selected
from fastdump.mongo.client import connect, translated

__all__ = ["OPLOG_COLLECTION", "OplogSession"]

OPLOG_COLLECTION = Collection(*OPLOG, CollectionKind.COLLECTION, NO_OPTIONS, (), 0, 0)
"""As if it were one of what is read."""

_BATCH_BYTES = 1024 * 1024


class OplogSession(Session):
    """Documents of different moments, and the oplog from before the first to after the last.

    Args:
        context: the server, the part of it that is read, and who reads it.
    """

    mode = "oplog"
    keeps_oplog = True

    def __init__(self, context: ReadContext) -> None:
        super().__init__(context)
        if self.selection.query is not None or self.selection.views_as_collections:
            raise UsageError(
                "--consistency oplog is for whole collections: an oplog does not say which "
                "documents a filter or a view would show"
            )
        self._stop = threading.Event()
        self._until: ClusterTime | None = None
        self._following: Future[ClusterTime] | None = None
        self._reached: ClusterTime | None = None

    def plan(self) -> tuple[Catalog, list[Chunk]]:
        """What there is, looked at after the first entry of the oplog that is needed."""
        self.at = min(self.of_each(oplog.start_of_oplog))
        catalog, chunks = super().plan()
        # What a change of the primary undoes is in no oplog.
        return catalog, [
            replace(chunk, source=replace(chunk.source, committed=True)) for chunk in chunks
        ]

    def resumes(self, at: ClusterTime | None, catalog: Catalog) -> bool:
        """Whether the oplog still has everything since another run began."""
        if at is None or not super().resumes(at, catalog):
            return False
        return all(self.of_each(lambda client: oplog.reaches(client, at)))

    @contextmanager
    def keeping(self, keep: Callable[[Batch], None]) -> Iterator[None]:
        """Follow the oplog within, from the entry on that the plan began with."""
        with ThreadPoolExecutor(1, "fastdump-oplog") as thread:
            self._following = thread.submit(self._follow, keep)
            try:
                yield
            finally:
                self._stop.set()

    def check(self, documents: int, raw_bytes: int) -> None:  # noqa: ARG002
        """See that the oplog is still followed."""
        if self._following is not None and self._following.done():
            self._following.result()

    def end(self) -> None:
        """Follow the oplog until all that was read is in it."""
        assert self._following is not None  # noqa: S101 - it is followed
        self._until = max(self.of_each(oplog.last_committed))
        self._reached = self._following.result()

    def finish(self, catalog: Catalog, gone: Some[Namespace]) -> tuple[Catalog, Consistency]:  # noqa: ARG002 - replaying makes up for it
        """It is of the moment of the last operation, when that was replayed."""
        assert self._reached is not None  # noqa: S101 - it was followed to its end
        return catalog, Consistency(self.mode, self._reached.moment, self._reached)

    def _lost(self, error: Exception) -> None:
        # Nobody waits for the server any more.
        if self._stop.is_set():
            raise error

    def _follow(self, keep: Callable[[Batch], None]) -> ClusterTime:
        """Runs in the thread; returns the last entry that was kept."""
        assert self.at is not None  # noqa: S101 - the plan set it
        connection = self.readers[0]
        wanted = is_selected(self.selection)
        waiting: list[bytes] = []
        size = 0
        with connect(connection) as client, translated(connection):
            follower = oplog.Follower(client, connection, self.at, self._lost)
            for entry in follower.entries():
                if entry is not None and (raw := oplog.kept(entry, wanted)) is not None:
                    waiting.append(raw)
                    size += len(raw)
                is_over = self._until is not None and follower.reached >= self._until
                if size >= _BATCH_BYTES or is_over:
                    keep(Batch(b"".join(waiting), len(waiting)))
                    waiting, size = [], 0
                if is_over or self._stop.is_set():
                    break
        return follower.reached
