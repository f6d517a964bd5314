"""The command copy: what backup fetches is loaded as restore does, without touching a disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.copy.planning import CopyPlan, moved
from fastdump.engine.copy.worker import CopyWorker
from fastdump.engine.document_counts import compare_counts
from fastdump.engine.load.loading import Loading
from fastdump.engine.load.temporary_oplog import TemporaryOplog
from fastdump.engine.load.worker import Operations, Target
from fastdump.engine.sessions.modes import read_consistently
from fastdump.engine.sessions.plain import Session
from fastdump.model import Catalog, Namespace, ReadOptions
from fastdump.mongo.client import connect, translated
from fastdump.mongo.replay import check_rights
from fastdump.progress import Reporter
from fastdump.report import CopyReport

__all__ = ["copy"]


def copy(plan: CopyPlan, *, how: ReadOptions, workers: int, reporter: Reporter) -> CopyReport:
    """Copy a database, so that each document that was read is in the target exactly as it was.

    Documents of the target that are not in the source stay, unless the plan says `drop`.

    Args:
        plan: from `plan_copy`.
        how: how the source is read.
        workers: number of processes.
        reporter: is told about the progress.

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
    # From here on everything is called as on the target; chunks know where they are read.
    catalog = moved(read, plan.database)
    pieces = [
        replace(chunk, namespace=chunk.namespace._replace(database=plan.database))
        for chunk in chunks
    ]
    with TemporaryOplog() as kept, session.keeping(kept.keep):
        target = Target(plan.connection, plan.how, None, _operations(plan, session, kept))
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


def _operations(plan: CopyPlan, session: Session, kept: TemporaryOplog) -> Operations | None:
    """Return the oplog of the source, to replay when the documents are in the target."""
    if not session.keeps_oplog:
        return None

    def batches() -> Iterator[Batch]:
        session.end()
        yield from kept.batches()

    return Operations(batches, lambda name: name._replace(database=plan.database))


def _counted(loaded: Mapping[Namespace, int], read: Catalog) -> dict[Namespace, int]:
    """Return how many documents were read, by the names on the source."""
    names = {found.namespace.collection: found.namespace for found in read.collections}
    return {names[name.collection]: count for name, count in loaded.items()}
