"""The command `convert`: read a backup and write it in another layout, by several processes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from fastdump.codec.archive import Block, End
from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.backup.packing import Packer, describe_losses, packer
from fastdump.engine.convert.planning import ConvertPlan, Piece, chunk_of
from fastdump.engine.convert.worker import ConvertWorker
from fastdump.engine.executors import executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.grouping import Group, grouped
from fastdump.errors import BackupDamagedError
from fastdump.layouts.interface import BackupWriter, Destination, Opened
from fastdump.model import OPLOG, Chunk, CollectionKind, Consistency, Encoding, Namespace, Part
from fastdump.model.server import data_namespace
from fastdump.progress import Reporter
from fastdump.report import ConvertReport

__all__ = ["convert"]

_STREAMS = 16
"""Number of collections that an archive is told to hold side by side, when it is made of another:
mongodump writes four at a time by default."""


def convert(
    plan: ConvertPlan, destination: Destination, *, workers: int, reporter: Reporter
) -> ConvertReport:
    """Write the backup of the plan to another place. Nothing is pruned there.

    Args:
        plan: the plan.
        destination: the place of the new backup.
        workers: the number of worker processes.
        reporter: receives progress and notes.

    Raises:
        BackupDamagedError: the old backup is damaged; there is no new one then.
        IncompleteError: a worker died.
        StorageError: a disk refuses.
    """
    clock = time.monotonic()
    backup = plan.backup
    shared = workers if plan.archive is None else _STREAMS
    writer = destination.begin(backup.taken, plan.catalog, shared)
    try:
        used = _write(plan, writer, workers, reporter)
        _check_counts(plan, writer)
        # It is as old as the documents are, whenever it is written in this form.
        made = backup.started or backup.made
        writer.commit(plan.catalog, made, made, _consistency(plan))
    except BaseException:
        writer.abort()
        raise
    finally:
        writer.close()
    return _report(plan, writer, destination, used, time.monotonic() - clock)


def _consistency(plan: ConvertPlan) -> Consistency:
    """Return how the documents of the new backup relate in time."""
    found = plan.backup.consistency
    left_oplog = plan.backup.oplog is not None and OPLOG not in plan.collections
    if found is None or left_oplog:
        return Consistency("none")
    if found.moment is None:
        return found
    taken = {str(name): one for name, one in plan.collections.items()}
    others = [*found.exceptions, *(name for name, one in taken.items() if one.is_of_other_moment)]
    renamed = {str(taken[name].namespace) for name in others if name in taken}
    return replace(found, exceptions=tuple(sorted(renamed)))


def _report(
    plan: ConvertPlan, writer: BackupWriter, destination: Destination, used: int, seconds: float
) -> ConvertReport:
    names = [one.namespace for one in plan.catalog.collections]
    notes = [*plan.notes, *destination.notes]
    if writer.encoding is Encoding.JSON:
        losses = {
            name: [part.losses for part in writer.parts(name) if part.losses is not None]
            for name in names
        }
        notes += describe_losses(plan.catalog, losses)
    return ConvertReport(
        source=plan.backup.path,
        name=writer.name,
        path=writer.path,
        workers=used,
        seconds=seconds,
        collections=tuple(writer.report(name) for name in names),
        notes=tuple(notes),
    )


def _check_counts(plan: ConvertPlan, writer: BackupWriter) -> None:
    """Check that each collection has as many documents as the old backup says.

    Raises:
        BackupDamagedError: it has not.
    """
    for one in plan.collections.values():
        known, found = one.contents.documents, writer.report(one.namespace).documents
        if known is not None and one.kind is not CollectionKind.VIEW and known != found:
            raise BackupDamagedError(
                f"{plan.backup.path}: {one.namespace} has {found:,} documents, but its manifest "
                f"says {known:,}: fastdump verify says more"
            )


def _write(plan: ConvertPlan, writer: BackupWriter, workers: int, reporter: Reporter) -> int:
    """Write all documents; return the number of worker processes."""
    documents = sum(one.documents for one in plan.catalog.collections)
    raw_bytes = plan.catalog.raw_bytes or sum(one.raw_bytes for one in plan.pieces)
    if plan.archive is not None:
        raw_bytes = plan.archive.raw_bytes
    reporter.start("convert", documents, raw_bytes)
    try:
        if plan.archive is not None:
            _Splitting(plan, writer, reporter).run()
            return 0
        return _by_workers(plan, writer, workers, reporter)
    finally:
        reporter.stop()


def _by_workers(plan: ConvertPlan, writer: BackupWriter, workers: int, reporter: Reporter) -> int:
    left = Counter(piece.chunk.namespace for piece in plan.pieces)
    groups = grouped(plan.pieces, workers, 1)
    size = sum(one.raw_bytes for one in plan.pieces)
    wanted = min(workers, len(groups)) if planner.use_processes(size, len(left)) else 0
    used = processes(wanted, reporter)

    def take(group: Group[Piece], parts: Sequence[Part]) -> None:
        for piece, part in zip(group.parts, parts, strict=True):
            name = piece.chunk.namespace
            writer.add(piece.chunk, part)
            left[name] -= 1
            if not left[name]:
                reporter.finished(writer.report(name))

    worker = ConvertWorker(plan.reader, writer)
    with executor(worker, used, reporter.update, repeats=writer.outputs.can_restart) as pool:
        for group in groups:
            pool.submit(ConvertWorker.convert, group, take)
        pool.run()
    return used


@dataclass(slots=True)
class _Open:
    """A collection of an archive whose documents are being read."""

    held: ExitStack
    """Closes the output."""
    chunk: Chunk
    output: Opened
    packing: Packer
    places: list[int]
    began: float


class _Splitting:
    """Writing of an archive, which is read once: its blocks go to the collections they are of."""

    def __init__(self, plan: ConvertPlan, writer: BackupWriter, reporter: Reporter) -> None:
        self._plan = plan
        self._writer = writer
        self._reporter = reporter
        self._documents = self._raw_bytes = 0
        # A block of a time series names its buckets.
        self._left = {
            data_namespace(name, one.kind): one
            for name, one in plan.collections.items()
            if one.kind is not CollectionKind.VIEW
        }
        self._open: dict[Namespace, _Open] = {}

    def run(self) -> None:
        """Read the archive to its end.

        Raises:
            BackupDamagedError: it is cut or damaged.
        """
        assert self._plan.archive is not None  # noqa: S101 - else nothing is split
        try:
            for event in self._plan.archive.blocks(self._plan.backup):
                if event.namespace in self._left:
                    self._take(event)
            for name in list(self._left):
                self._end(name)
        finally:
            for one in self._open.values():
                one.held.close()

    def _take(self, event: Block | End) -> None:
        if isinstance(event, Block):
            self._add(event.namespace, event.batch)
            return
        if not event.intact:
            raise BackupDamagedError(
                f"{self._plan.backup.path}: the documents of {event.namespace} are not those that "
                "were written; restore --salvage brings back what can be read"
            )
        self._end(event.namespace)

    def _opened(self, name: Namespace) -> _Open:
        if name not in self._open:
            chunk, held = chunk_of(self._left[name]), ExitStack()
            output = held.enter_context(self._writer.outputs.opened(chunk))
            packing = packer(self._writer.encoding, self._writer.level, chunk)
            self._open[name] = _Open(held, chunk, output, packing, [], time.monotonic())
        return self._open[name]

    def _add(self, name: Namespace, batch: Batch) -> None:
        one = self._opened(name)
        one.places.append(one.output.write(one.packing.pack(batch), batch.documents))
        self._documents += batch.documents
        self._raw_bytes += len(batch.data)
        self._reporter.update(self._documents, self._raw_bytes)

    def _end(self, name: Namespace) -> None:
        if name not in self._open:
            self._add(name, Batch(b"", 0))
        one = self._open.pop(name)
        del self._left[name]
        with one.held:
            part = one.output.end(one.packing.part(time.monotonic() - one.began, one.places))
        self._writer.add(one.chunk, part)
        self._reporter.finished(self._writer.report(one.chunk.namespace))
