"""The base of workers that read from a server. Each has its own clients, made in its process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from fastdump.mongo.client import connect, translated
from fastdump.mongo.fetch import fetch
from fastdump.mongo.retry import retrying
from fastdump.mongo.snapshot import advance_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from fastdump.codec.bson import Batch
    from fastdump.engine.executors import Progress
    from fastdump.model import Chunk, Connection
    from fastdump.mongo.client import Client

__all__ = ["ServerWorker"]

T = TypeVar("T")
Result = TypeVar("Result")


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
        self.progress: Progress | None = None

    @property
    def client(self) -> Client:
        """This process's client for the first of the connections."""
        return self._client(self.connection)

    def _client(self, connection: Connection) -> Client:
        with self._threads.lock:
            if connection not in self._clients:
                client = self._clients[connection] = connect(connection)
                if self._clock is not None:
                    with translated(connection):
                        retrying(connection)(advance_clock, client, self._clock)
            return self._clients[connection]

    @cached_property
    def _threads(self) -> _Threads:
        """The state that threads of this process share, which cannot be pickled."""
        return _Threads()

    def each(self, work: Callable[[T], Result], parts: Sequence[T], at_once: int) -> list[Result]:
        """Do some work for each of the parts, by threads if several are wanted at once.

        If it is interrupted, all threads end at their next batch.
        """
        if min(at_once, len(parts)) == 1:
            return [work(part) for part in parts]
        with ThreadPoolExecutor(min(at_once, len(parts)), "fastdump-part") as threads:
            try:
                return list(threads.map(work, parts))
            except BaseException:
                self.interrupt()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def interrupt(self) -> None:
        """Make the other threads of this worker end at their next batch."""
        self._threads.ends.set()

    def batches(
        self,
        chunk: Chunk,
        lost: Callable[[Exception], None] = lambda _error: None,
        *,
        fetch_ahead: bool = False,
    ) -> Generator[Batch]:
        """Yield the documents of a chunk, each exactly once, at most at `max_rate`.

        Args:
            chunk: the chunk to read.
            lost: called with the error of each interruption after which reading continues.
            fetch_ahead: fetch each batch while the last is being processed; see `ahead`.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        fetched = self._fetched(chunk, lost)
        # The waiting is done here, not in the thread of `ahead`: an interrupt would have to wait
        # for that thread, and too little time would be left to close the cursor.
        with closing(ahead(fetched) if fetch_ahead else fetched) as batches:
            for batch in batches:
                yield batch
                self._wait(len(batch.data))

    def _fetched(self, chunk: Chunk, lost: Callable[[Exception], None]) -> Generator[Batch]:
        # The name takes part, since whole collections all have the number 0.
        place = chunk.number + len(chunk.namespace.collection)
        connection = self._connections[place % len(self._connections)]
        with translated(connection):
            yield from fetch(self._client(connection), connection, chunk, lost)

    def _wait(self, raw_bytes: int) -> None:
        """Wait until `max_rate` allows to read on after so many bytes.

        Raises:
            InterruptedError: another thread of this worker was interrupted.
        """
        if self._max_rate:
            self._threads.ends.wait(self._threads.seconds_to_wait(raw_bytes / self._max_rate))
        if self._threads.ends.is_set():
            raise InterruptedError

    def done(self, documents: int, raw_bytes: int) -> None:
        """Add to the progress that the coordinator is told of."""
        if self.progress is not None:
            self.progress.add(documents, raw_bytes)

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


class _Threads:
    """State that the threads of a worker share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ends = threading.Event()
        """Set if the worker was interrupted, so that its threads should end."""
        self._free = 0.0
        """Time of the monotonic clock at which the next batch may be read."""

    def seconds_to_wait(self, seconds: float) -> float:
        """Return how long to wait after a batch that may be read in so many seconds."""
        with self.lock:
            now = time.monotonic()
            self._free = max(self._free, now) + seconds
            return self._free - now
