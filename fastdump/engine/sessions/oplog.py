"""The session of `--consistency oplog`: read documents, and every operation during the reading.

A restore that replays these operations brings all documents to one moment: that of the last one.
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
"""The oplog as an entry of the catalog, as if it were a collection."""

_BATCH_BYTES = 1024 * 1024


class OplogSession(Session):
    """Session that reads documents at different moments, and the oplog of the whole time.

    Args:
        context: the server, the selection, and the readers.

    Raises:
        UsageError: the selection has a filter, or views that are read as collections.
    """

    mode = "oplog"
    keeps_oplog = True

    def __init__(self, context: ReadContext) -> None:
        super().__init__(context)
        if self.selection.query is not None or self.selection.views_as_collections:
            raise UsageError(
                "--consistency oplog cannot be combined with --query or --views-as-collections: an "
                "oplog does not tell which documents a filter or a view would return"
            )
        self._stop = threading.Event()
        self._until: ClusterTime | None = None
        self._following: Future[ClusterTime] | None = None
        self._reached: ClusterTime | None = None

    def plan(self) -> tuple[Catalog, list[Chunk]]:
        """Note where the oplog is now, then return the catalog and the chunks."""
        self.at = min(self.of_each(oplog.start_of_oplog))
        catalog, chunks = super().plan()
        # Writes that a new primary rolls back never appear in its oplog: read only committed ones.
        return catalog, [
            replace(chunk, source=replace(chunk.source, committed=True)) for chunk in chunks
        ]

    def resumes(self, at: ClusterTime | None, catalog: Catalog) -> bool:
        """Return True if the oplog still reaches back to the beginning of the other run."""
        if at is None or not super().resumes(at, catalog):
            return False
        return all(self.of_each(lambda client: oplog.reaches(client, at)))

    @contextmanager
    def keeping(self, keep: Callable[[Batch], None]) -> Iterator[None]:
        """Follow the oplog inside the context, starting at the entry noted by `plan`."""
        with ThreadPoolExecutor(1, "fastdump-oplog") as thread:
            self._following = thread.submit(self._follow, keep)
            try:
                yield
            finally:
                self._stop.set()

    def check(self, documents: int, raw_bytes: int) -> None:  # noqa: ARG002
        """Check that the oplog is still being followed."""
        if self._following is not None and self._following.done():
            self._following.result()

    def end(self) -> None:
        """Follow the oplog up to the last operation that a document read so far can reflect."""
        assert self._following is not None  # noqa: S101 - it is followed
        self._until = max(self.of_each(oplog.last_committed))
        self._reached = self._following.result()

    def finish(self, catalog: Catalog, gone: Some[Namespace]) -> tuple[Catalog, Consistency]:  # noqa: ARG002 - replaying makes up for it
        """Return the catalog, with the moment that replaying the last operation leads to."""
        assert self._reached is not None  # noqa: S101 - it was followed to its end
        return catalog, Consistency(self.mode, self._reached.moment, self._reached)

    def _lost(self, error: Exception) -> None:
        # The backup has ended: do not wait for the server to come back.
        if self._stop.is_set():
            raise error

    def _follow(self, keep: Callable[[Batch], None]) -> ClusterTime:
        """Follow the oplog; runs in the thread. Return the time of the last entry."""
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
