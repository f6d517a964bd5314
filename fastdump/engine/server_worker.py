"""What every worker that talks to a server has: one client, made in the process that uses it."""

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

__all__ = ["ServerWorker", "ahead"]


def ahead(batches: Generator[Batch]) -> Generator[Batch]:
    """The same batches, each asked for while the one before is still being worked on.

    Where a core would idle otherwise: one worker is a quarter faster then. With as many workers as
    cores, and the server on them too, it costs a few percent; see docs/performance.md.
    """
    # In this order, so that the thread has ended before the batches are closed.
    with closing(batches), ThreadPoolExecutor(1, "fastdump-fetch") as fetching:
        following = fetching.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = fetching.submit(next, batches, None)
            yield batch


class ServerWorker:
    """Connects at its first use, so that it can be pickled before.

    Args:
        connections: a server, or members of a replica set that share the reading.
        clock: a time that each of them must be told before anything is read; None for no time.
        max_rate: how many bytes of documents it reads a second at most; None is no limit.
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
        """How often a server went away, and reading went on."""
        self.progress: Progress | None = None

    @property
    def client(self) -> Client:
        """The connection of this process to the first of them."""
        return self._client(self.connection)

    def _client(self, connection: Connection) -> Client:
        if connection not in self._clients:
            client = self._clients[connection] = connect(connection)
            if self._clock is not None:
                with translated(connection):
                    retrying(connection, self._interrupted)(advance_clock, client, self._clock)
        return self._clients[connection]

    def batches(self, chunk: Chunk) -> Generator[Batch]:
        """The documents of a chunk, each exactly once.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        # Whole collections are all number 0.
        place = chunk.number + len(chunk.namespace.collection)
        connection = self._connections[place % len(self._connections)]
        began, raw_bytes = time.monotonic(), 0
        with translated(connection):
            for batch in fetch(self._client(connection), connection, chunk, self._interrupted):
                yield batch
                raw_bytes += len(batch.data)
                self._wait(began, raw_bytes)

    def _wait(self, began: float, raw_bytes: int) -> None:
        """Be no faster than the rate allows."""
        if self._max_rate:
            time.sleep(max(0.0, began + raw_bytes / self._max_rate - time.monotonic()))

    def _interrupted(self, _error: Exception) -> None:
        self.interruptions += 1

    def done(self, documents: int, raw_bytes: int) -> None:
        """Let the coordinator know that so much more is done."""
        if self.progress is not None:
            self.progress.add(documents, raw_bytes)

    def close(self) -> None:
        """Close the connections, if there are any."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
