"""A copy: what backup fetches is loaded as restore does, without touching a disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.document_counts import compare_counts
from fastdump.engine.load.target import Loading, look_at
from fastdump.engine.load.time_series import of_server
from fastdump.engine.load.worker import LoadWorker, Operations, Target
from fastdump.engine.restore.filters import check_database
from fastdump.engine.restore.oplog_spool import OplogSpool
from fastdump.engine.server_worker import ServerWorker
from fastdump.engine.sessions.modes import read_consistently
from fastdump.engine.sessions.plain import Session
from fastdump.errors import UsageError
from fastdump.model import (
    DEFAULT_DATABASE,
    Catalog,
    Chunk,
    Connection,
    Loaded,
    LoadOptions,
    Namespace,
    ReadOptions,
    Selection,
)
from fastdump.mongo.catalog import read_catalog
from fastdump.mongo.client import connect, members, same_server, translated
from fastdump.mongo.load import summed
from fastdump.mongo.replay import check_rights
from fastdump.progress import Reporter
from fastdump.report import CopyReport

__all__ = ["CopyPlan", "copy", "plan_copy"]

_SENDERS = 2
"""So that a worker fetches from one server while the other is still writing."""


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What a copy will do, before it does anything."""

    readers: tuple[Connection, ...]
    """The source: a server, or members of a replica set that share the reading."""
    selection: Selection
    """What is read."""
    source: str
    """The database that is read."""
    catalog: Catalog
    """What there is to read, by its names on the target; it is looked at again then."""
    connection: Connection
    """The server to write to."""
    database: str
    """The database to write to."""
    how: LoadOptions
    held: int
    """About how many documents the target already has in these collections."""
    notes: tuple[str, ...]


def plan_copy(
    source: Connection,
    selection: Selection,
    connection: Connection,
    database: str,
    *,
    how: LoadOptions,
) -> CopyPlan:
    """Look at both servers, write nothing.

    Args:
        source: the server to read from.
        selection: what of it, of one database.
        connection: the server to write to.
        database: the database to write to.
        how: what becomes of the target.

    Raises:
        ServerError: a server cannot be reached or refuses.
        UsageError: there is no such database, or it is its own target, or the target is `local`, or
            measurements would be mixed into a time series.
    """
    check_database([database])
    readers = members(source)
    source_name = selection.database or DEFAULT_DATABASE
    with connect(readers[0]) as one, connect(connection) as other:
        catalog = _moved(read_catalog(one, readers[0], selection), database)
        if source_name == database and same_server(one, source, other, connection):
            raise UsageError(
                f"database {source_name!r} of {source.shown} would be copied onto itself: "
                "name another target"
            )
    documents = of_server(readers, source_name)
    held, notes = look_at(connection, catalog.collections, how, documents)
    return CopyPlan(
        readers=readers,
        selection=selection,
        source=source_name,
        catalog=catalog,
        connection=connection,
        database=database,
        how=how,
        held=held,
        notes=tuple(notes),
    )


def copy(plan: CopyPlan, *, how: ReadOptions, workers: int, reporter: Reporter) -> CopyReport:
    """Copy a database: each document that was read is then in the target exactly as it was.

    Documents of the target that are not in the source stay, unless the plan says `drop`.

    Args:
        plan: from `plan_copy`.
        how: how the source is read.
        workers: number of processes.
        reporter: hears how it goes.

    Raises:
        IncompleteError: a worker died.
        ServerError: a server cannot be reached or refuses.
    """

    def work(session: Session) -> CopyReport:
        return _copy(plan, session, how.max_rate, workers, reporter)

    return read_consistently(
        how, plan.readers, plan.selection, workers, reporter, work=work, repeats=True
    )


def _copy(
    plan: CopyPlan, session: Session, max_rate: float | None, workers: int, reporter: Reporter
) -> CopyReport:
    if session.keeps_oplog:
        with connect(plan.connection) as target_client, translated(plan.connection):
            check_rights(target_client, plan.connection)
    read, chunks = session.plan()
    # The chunks know where they are read; everything else is about the target from here on.
    catalog = _moved(read, plan.database)
    pieces = [
        replace(chunk, namespace=chunk.namespace._replace(database=plan.database))
        for chunk in chunks
    ]
    with OplogSpool() as spool, session.keeping(spool.keep):
        target = Target(plan.connection, plan.how, None, _operations(plan, session, spool))
        run = Loading(target, catalog.collections, pieces, reporter, session.check)
        documents = sum(found.documents for found in catalog.collections)
        sharing = min(workers, len(pieces)) if planner.use_processes(catalog.raw_bytes) else 1
        worker = CopyWorker(target, session, max_rate and max_rate * 1e6 / max(1, sharing))
        run.run("copy", documents, catalog.raw_bytes, workers, worker)
    differences = compare_counts(session, read, _counted(run.documents(), read))
    session.notes += differences.notes
    run.failures += differences.failures
    _read, consistency = session.finish(read, ())
    return run.report(
        partial(
            CopyReport,
            server=catalog.server,
            source=plan.source,
            consistency=consistency,
            notes=(*plan.notes, *session.notes, *run.notes),
        )
    )


def _operations(plan: CopyPlan, session: Session, spool: OplogSpool) -> Operations | None:
    """The source's oplog, for when its documents are in the target."""
    if not session.keeps_oplog:
        return None

    def batches() -> Iterator[Batch]:
        session.end()
        yield from spool.batches()

    return Operations(batches, lambda name: name._replace(database=plan.database))


def _counted(loaded: Mapping[Namespace, int], read: Catalog) -> dict[Namespace, int]:
    """Return how many documents were read, by the names on the source."""
    names = {found.namespace.collection: found.namespace for found in read.collections}
    return {names[name.collection]: count for name, count in loaded.items()}


def _moved(catalog: Catalog, database: str) -> Catalog:
    """The same by its names on the target."""
    moved = tuple(replace(found, database=database) for found in catalog.collections)
    return replace(catalog, collections=moved)


class CopyWorker(LoadWorker[Chunk]):
    """Fetches chunks from one server and loads them into another."""

    def __init__(self, target: Target, session: Session, max_rate: float | None) -> None:
        super().__init__(target, _SENDERS)
        self._source = ServerWorker(*session.readers, clock=session.clock, max_rate=max_rate)

    def load(self, piece: Chunk) -> Loaded:
        """Load the documents of a chunk."""
        began = time.monotonic()
        # In one piece may be a capped collection, whose order must be kept.
        loaders = self.loaders(piece.target, 1 if piece.range.is_whole else self._senders)
        self.send_all(loaders, self._source.batches(piece))
        return summed(loaders, time.monotonic() - began)

    def close(self) -> None:
        """Close both connections."""
        self._source.close()
        super().close()
