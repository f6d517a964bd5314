"""The worker's part of a copy: fetching chunks from one server, and loading them into another."""

from __future__ import annotations

import time

from fastdump.engine.load.worker import LoadWorker, Target
from fastdump.engine.server_worker import ServerWorker
from fastdump.engine.sessions.plain import Session
from fastdump.model import Chunk, Loaded
from fastdump.mongo.load import summed

__all__ = ["CopyWorker"]

_SENDERS = 2
"""Threads that send, so that a worker fetches from one server while the other is still writing."""


class CopyWorker(LoadWorker[Chunk]):
    """A worker that fetches chunks from one server and loads them into another.

    Args:
        target: where documents go.
        session: how the source is read.
        max_rate: how many bytes of documents it reads a second at most; None is no limit.
    """

    def __init__(self, target: Target, session: Session, max_rate: float | None) -> None:
        super().__init__(target, _SENDERS)
        self.at_once = session.at_once
        self._source = ServerWorker(*session.readers, clock=session.clock, max_rate=max_rate)

    def load(self, piece: Chunk) -> Loaded:
        """Load the documents of a chunk.

        Raises:
            IncompleteError: a document was refused, and that is to be the end.
            ServerError: a server cannot be reached or refuses.
        """
        began = time.monotonic()
        # A whole collection may be a capped one, whose order must be kept. Chunks that are fetched
        # at the same time share the threads that send, which bounds the memory.
        senders = 1 if piece.range.is_whole else max(1, self.senders_of(piece) // self.at_once)
        loaders = self.loaders(piece.target, senders)
        self.send_all(loaders, self._source.batches(piece))
        return summed(loaders, time.monotonic() - began)

    def interrupt(self) -> None:
        """Make all threads of this worker end at their next batch."""
        self._source.interrupt()
        super().interrupt()

    def close(self) -> None:
        """Close the connections to both servers."""
        self._source.close()
        super().close()
