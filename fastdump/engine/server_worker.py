"""The base of workers that read from a server. Each has its own clients, made in its process."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

from fastdump.mongo.client import connect, translated
from fastdump.mongo.fetch import fetch
from fastdump.mongo.retry import retrying
from fastdump.mongo.snapshot import advance_clock

if TYPE_CHECKING:
    from collections.abc import Generator

    from fastdump.codec.bson import Batch
    from fastdump.engine.executors import Progress
    from fastdump.model import Chunk, Connection
    from fastdump.mongo.client import Client

__all__ = ["ServerWorker"]


def ahead(batches: Generator[Batch]) -> Generator[Batch]:
    """Yield the same batches, but fetch each one in a thread while the last is being processed.

    This helps if a core would be idle otherwise: one worker is a quarter faster. With as many
    workers as cores, and the server on the same cores, it costs a few percent; see
    docs/performance.md.
    """
    # In this order, so that the thread has ended before the batches are closed.
    with closing(batches), ThreadPoolExecutor(1, "fastdump-fetch") as fetching:
        following = fetching.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = fetching.submit(next, batches, None)
            yield batch


class ServerWorker:
    """Worker that connects to a server at its first use, so that it can be pickled before.

    Args:
        connections: a server, or members of a replica set that share the reading.
        clock: a cluster time to send to each of them before anything is read; None for none.
        max_rate: the highest speed of reading, in bytes of documents a second; None for no limit.
    """

    def __init__(
        self,
        *connections: Connection,
        clock: bytes | None = None,
        max_rate: float | None = None,
    ) -> None:
        self.connection = connections[0]
        self._clock = clock
        self._max_rate = max_rate
        self._connections = connections
        self._clients: dict[Connection, Client] = {}
        self.interruptions = 0
        """Number of interruptions after which reading continued."""
        self.progress: Progress | None = None

    @property
    def client(self) -> Client:
        """This process's client for the first of the connections."""
        return self._client(self.connection)

    def _client(self, connection: Connection) -> Client:
        if connection not in self._clients:
            client = self._clients[connection] = connect(connection)
            if self._clock is not None:
                with translated(connection):
                    retrying(connection, self._interrupted)(advance_clock, client, self._clock)
        return self._clients[connection]

    def batches(self, chunk: Chunk, *, fetch_ahead: bool = False) -> Generator[Batch]:
        """Yield the documents of a chunk, each exactly once, at most at `max_rate`.

        Args:
            chunk: the chunk to read.
            fetch_ahead: fetch each batch while the last is being processed; see `ahead`.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        began, raw_bytes = time.monotonic(), 0
        fetched = self._fetched(chunk)
        # The waiting is done here, not in the thread of `ahead`: an interrupt would have to wait
        # for that thread, and too little time would be left to close the cursor.
        with closing(ahead(fetched) if fetch_ahead else fetched) as batches:
            for batch in batches:
                yield batch
                raw_bytes += len(batch.data)
                self._wait(began, raw_bytes)

    def _fetched(self, chunk: Chunk) -> Generator[Batch]:
        # The name takes part, since whole collections all have the number 0.
        place = chunk.number + len(chunk.namespace.collection)
        connection = self._connections[place % len(self._connections)]
        with translated(connection):
            yield from fetch(self._client(connection), connection, chunk, self._interrupted)

    def _wait(self, began: float, raw_bytes: int) -> None:
        """Wait until the bytes read so far are within `max_rate`."""
        if self._max_rate:
            time.sleep(max(0.0, began + raw_bytes / self._max_rate - time.monotonic()))

    def _interrupted(self, _error: Exception) -> None:
        self.interruptions += 1

    def done(self, documents: int, raw_bytes: int) -> None:
        """Add to the progress that the coordinator is told of."""
        if self.progress is not None:
            self.progress.add(documents, raw_bytes)

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
