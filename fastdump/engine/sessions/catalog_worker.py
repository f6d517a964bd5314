"""Sizes and indexes of thousands of collections, asked for by several processes.

Two questions for each collection take the coordinator a millisecond of CPU, most of it in the
driver.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastdump.engine import planner
from fastdump.engine.executors import executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.grouping import Group, grouped
from fastdump.engine.server_worker import ServerWorker
from fastdump.model import Collection, Connection
from fastdump.mongo.client import Client, translated
from fastdump.mongo.collection_details import describe_each
from fastdump.progress import Silent

__all__ = ["describe"]


class CatalogWorker(ServerWorker):
    """Worker that asks for the sizes and indexes of collections.

    Args:
        connection: the server.
        sizes: False to leave out the sizes.
    """

    def __init__(self, connection: Connection, *, sizes: bool) -> None:
        super().__init__(connection)
        self._sizes = sizes

    def describe(self, group: Group[Collection]) -> list[Collection | None]:
        """Return collections with their sizes and indexes; None for one that is gone.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.connection):
            return describe_each(self.client, self.connection, group.parts, sizes=self._sizes)


def describe(
    client: Client,
    connection: Connection,
    found: Sequence[Collection],
    workers: int,
    *,
    sizes: bool = True,
) -> list[Collection | None]:
    """Return collections with their sizes and indexes, in the same order.

    Args:
        client: the server, for the few collections that no process is worth.
        connection: its address.
        found: the collections without sizes and indexes.
        workers: the number of processes.
        sizes: False to leave out the sizes.

    Raises:
        PyMongoError: the server does not answer or refuses.
        ServerError: the same, in another process.
    """
    wanted = workers if workers > 1 and len(found) >= planner.MANY else 0
    # Where no process can be started, the user is told when documents are read.
    if not processes(wanted, Silent()):
        return describe_each(client, connection, found, sizes=sizes)
    results: dict[Group[Collection], list[Collection | None]] = {}
    groups = grouped(found, workers, 1)
    worker = CatalogWorker(connection, sizes=sizes)
    with executor(worker, wanted, lambda _documents, _bytes: None) as pool:
        for group in groups:
            pool.submit(CatalogWorker.describe, group, results.__setitem__)
        pool.run()
    return [one for group in groups for one in results[group]]
