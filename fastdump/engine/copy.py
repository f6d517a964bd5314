"""A copy: what backup fetches is loaded as restore does, without touching a disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from fastdump.engine.backup import plan_backup
from fastdump.engine.loading import Loading, LoadWorker, Target, look_at
from fastdump.engine.worker import ServerWorker
from fastdump.errors import UsageError
from fastdump.model import Catalog, Chunk, Connection, Loaded
from fastdump.mongo.client import connect, same_server
from fastdump.mongo.load import summed
from fastdump.progress import Reporter
from fastdump.report import CopyReport

__all__ = ["CopyPlan", "copy", "plan_copy"]

_SENDERS = 2
"""So that a worker fetches from one server while the other is still writing."""


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What a copy will do, before it does anything."""

    source: Connection
    catalog: Catalog
    chunks: tuple[Chunk, ...]
    connection: Connection
    """The server to write to."""
    database: str
    """The database to write to."""
    held: int
    """About how many documents the target already has in these collections."""
    notes: tuple[str, ...]


def plan_copy(
    source: Connection, name: str, connection: Connection, database: str, *, workers: int
) -> CopyPlan:
    """Look at both servers, write nothing.

    Args:
        source: the server to read from.
        name: the database to read.
        connection: the server to write to.
        database: the database to write to.
        workers: how many processes will share the work.

    Raises:
        ServerError: a server cannot be reached or refuses.
        UsageError: there is no such database, or it is its own target.
    """
    catalog, chunks = plan_backup(source, name, workers)
    if name == database:
        with connect(source) as one, connect(connection) as other:
            if same_server(one, source, other, connection):
                raise UsageError(
                    f"database {name!r} of {source.shown} would be copied onto itself: "
                    "name another target"
                )
    held, notes = look_at(connection, database, catalog.collections)
    return CopyPlan(source, catalog, tuple(chunks), connection, database, held, tuple(notes))


def copy(
    plan: CopyPlan,
    *,
    workers: int,
    drop: bool,
    with_indexes: bool,
    write_concern: str | None,
    reporter: Reporter,
) -> CopyReport:
    """Copy a database: each document that was read is then in the target exactly as it was.

    Documents of the target that are not in the source stay, unless `drop`.

    Args:
        plan: from `plan_copy`.
        workers: number of processes.
        drop: drop each collection of the source from the target first.
        with_indexes: build the source's indexes when a collection's documents are in.
        write_concern: a number of servers, `majority`, or a name of the server's configuration;
            None is that of the connection string, else majority.
        reporter: hears how it goes.

    Raises:
        IncompleteError: a worker died.
        ServerError: a server cannot be reached or refuses.
    """
    catalog = plan.catalog
    target = Target(plan.connection, plan.database, drop, with_indexes, write_concern)
    run = Loading(target, catalog.collections, plan.chunks, reporter)
    documents = sum(found.documents for found in catalog.collections)
    run.run("copy", documents, workers, _Worker(target, plan.source, catalog.database))
    return run.report(
        partial(CopyReport, server=catalog.server, source=catalog.database, notes=plan.notes)
    )


class _Worker(LoadWorker[Chunk]):
    """Fetches chunks from one server and loads them into another."""

    def __init__(self, target: Target, source: Connection, name: str) -> None:
        super().__init__(target, _SENDERS)
        self._source = ServerWorker(source, name)

    def load(self, piece: Chunk) -> Loaded:
        """Load the documents of a chunk."""
        began = time.monotonic()
        # In one piece may be a capped collection, whose order must be kept.
        loaders = self.loaders(piece.source, 1 if piece.is_whole else self._senders)
        self.send_all(loaders, self._source.batches(piece))
        return summed(loaders, time.monotonic() - began)

    def close(self) -> None:
        """Close both connections."""
        self._source.close()
        super().close()
