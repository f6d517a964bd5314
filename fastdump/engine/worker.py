"""What every worker that talks to a server has: one client, made in the process that uses it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING

from fastdump.mongo.client import connect, open_database, translated
from fastdump.mongo.fetch import fetch

if TYPE_CHECKING:
    from collections.abc import Generator

    from fastdump.codec.bson import Batch
    from fastdump.engine.pool import Meter
    from fastdump.model import Chunk, Connection
    from fastdump.mongo.client import Client, Database, Document

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
    """Connects at its first use, so that it can be pickled before."""

    def __init__(self, connection: Connection, database_name: str) -> None:
        self.connection = connection
        self.database_name = database_name
        self.meter: Meter | None = None

    @cached_property
    def client(self) -> Client:
        """The connection of this process."""
        return connect(self.connection)

    @property
    def database(self) -> Database[Document]:
        """The database that is read or written."""
        return open_database(self.client, self.database_name)

    def batches(self, chunk: Chunk) -> Generator[Batch]:
        """The documents of a chunk, each exactly once.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.connection):
            yield from fetch(self.database, chunk)

    def done(self, documents: int, raw_bytes: int) -> None:
        """Let the coordinator know that so much more is done."""
        if self.meter is not None:
            self.meter.add(documents, raw_bytes)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if "client" in self.__dict__:
            self.client.close()
