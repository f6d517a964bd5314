"""The command restore: load what the plan says, and report what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from fastdump.codec.bson import Batch
from fastdump.engine.load.loading import Loading
from fastdump.engine.load.temporary_oplog import TemporaryOplog
from fastdump.engine.load.worker import Operations, Target
from fastdump.engine.restore.archive_stream import StreamLoading
from fastdump.engine.restore.planning import RestorePlan
from fastdump.engine.restore.worker import RestoreWorker
from fastdump.layouts.segments import FileReader
from fastdump.model import ClusterTime, Consistency, Segment
from fastdump.progress import Reporter
from fastdump.report import RestoreReport

__all__ = ["restore"]


def restore(plan: RestorePlan, *, workers: int, reporter: Reporter) -> RestoreReport:
    """Load a backup, so that each of its documents is in the target exactly as it was.

    Documents of the target that are not in the backup stay, unless the plan says `drop`.

    Args:
        plan: from `plan_restore`.
        workers: number of processes.
        reporter: is told about the progress.

    Raises:
        BackupDamagedError: a file is not what was written.
        IncompleteError: a worker died, or a document was refused and that is to be the end.
        ServerError: the target cannot be reached or refuses.
    """
    with TemporaryOplog() as kept:
        operations = _operations(plan, kept) if plan.how.oplog_replay else None
        target = Target(plan.connection, plan.how, plan.authorization, operations)
        run = _loading(plan, target, reporter, kept)
        run.failures += plan.lost
        documents = sum(segment.documents or 0 for segment in plan.segments)
        worker = RestoreWorker(target, workers, plan.reader)
        run.run("restore", documents, plan.raw_bytes, workers, worker)
    if plan.is_of_another and run.replayed_to is not None:
        moment = run.replayed_to.moment.astimezone()
        run.notes.append(
            f"the oplog was replayed up to {moment:%Y-%m-%d %H:%M:%S} ({run.replayed_to})"
        )
    return run.report(
        partial(
            RestoreReport,
            name=plan.backup.name,
            path=plan.backup.path,
            notes=(*plan.notes, *run.notes),
            consistency=_consistency(plan, run.replayed_to),
        )
    )


def _operations(plan: RestorePlan, kept: TemporaryOplog) -> Operations:
    """Return the oplog to replay: that of a file, or what an archive will have held of one."""
    oplog = plan.backup.oplog
    is_file = oplog is not None and oplog.file is not None
    batches = partial(_read_oplog, plan) if is_file else kept.batches
    return Operations(batches, plan.name_of, plan.how.oplog_limit, plan.is_of_another)


def _loading(
    plan: RestorePlan, target: Target, reporter: Reporter, kept: TemporaryOplog
) -> Loading[Segment]:
    if plan.archive is None:
        return Loading(target, list(plan.collections.values()), plan.segments, reporter)
    blocks = plan.archive.blocks(plan.backup)
    keep = kept.keep if target.operations is not None else lambda _batch: None
    return StreamLoading(target, plan.collections, blocks, reporter, keep)


def _read_oplog(plan: RestorePlan) -> Iterator[Batch]:
    oplog = plan.backup.oplog
    assert oplog is not None  # noqa: S101 - the plan was made for it
    reader = plan.reader if plan.how.oplog_file is None else FileReader()
    for segment in reader.segments(oplog, whole=True):
        yield from reader.batches(segment.place)


def _consistency(plan: RestorePlan, replayed_to: ClusterTime | None) -> Consistency | None:
    """Return how the restored documents relate in time; None if nobody knows."""
    found, limit = plan.backup.consistency, plan.how.oplog_limit
    if plan.is_of_another:
        return None  # the oplog may not fit to the documents
    if plan.backup.oplog is not None:
        # With a limit, some of the documents may be of a later moment than the limit.
        if not plan.how.oplog_replay or limit is not None:
            found = Consistency("none")
        elif found is None and replayed_to is not None:
            found = Consistency("oplog", replayed_to.moment, replayed_to)
    others = [str(name) for name, one in plan.collections.items() if one.origin.is_of_another]
    if found is None or found.moment is None or not others:
        return found
    return replace(found, exceptions=(*found.exceptions, *others))
