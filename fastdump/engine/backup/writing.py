"""The course of one backup: plan it, let workers write every chunk, and commit the result."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fastdump.engine import planner
from fastdump.engine.backup.packing import packer
from fastdump.engine.backup.resuming import Begun, begun, resumed
from fastdump.engine.backup.worker import BackupWorker
from fastdump.engine.document_counts import compare_counts, overlapping
from fastdump.engine.executors import executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.grouping import Group, grouped
from fastdump.engine.sessions.oplog import OPLOG_COLLECTION
from fastdump.engine.sessions.plain import Session
from fastdump.errors import IncompleteError, UsageError
from fastdump.layouts.interface import BackupWriter, Destination
from fastdump.model import (
    Bounds,
    Catalog,
    Chunk,
    Consistency,
    Encoding,
    Namespace,
    Part,
    ReadOptions,
)
from fastdump.progress import Reporter

__all__ = ["Writing", "Written"]


@dataclass(slots=True)
class _Fetched:
    """Result of fetching all chunks."""

    workers: int
    """Number of worker processes; 0 if the coordinator did the work."""
    gone: set[Namespace] = field(default_factory=set)
    """Collections that no longer existed when they were to be read."""


@dataclass(frozen=True, slots=True)
class Written:
    """Backup that is complete and has its final name."""

    writer: BackupWriter
    catalog: Catalog
    consistency: Consistency
    workers: int
    """Number of worker processes; 0 if the coordinator did the work."""
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Writing:
    """Settings of one backup, and its steps from plan to commit."""

    destination: Destination
    workers: int
    how: ReadOptions
    resume: bool
    reporter: Reporter
    held: ExitStack
    """Owner of the writer, and so of the folder's lock, until old backups are removed too."""

    def run(self, session: Session) -> Written:
        """Plan the backup, fetch all chunks, check the counts, and commit."""
        writer, planned, chunks = self._begin(session)
        try:
            with self._keeping_oplog(session, writer):
                fetched = self._fetch_all(session, writer, planned.catalog, chunks)
            self._check_counts(session, writer, planned.catalog, fetched)
            catalog, consistency = session.finish(planned.catalog, fetched.gone)
            writer.commit(catalog, planned.started, datetime.now(UTC), consistency)
        except BaseException:
            writer.abort()
            raise
        return Written(writer, catalog, consistency, fetched.workers, session.notes)

    def _begin(self, session: Session) -> Begun:
        start = resumed if self.resume else begun
        return start(session, self.destination, self.workers, self.held)

    def _check_counts(
        self, session: Session, writer: BackupWriter, catalog: Catalog, fetched: _Fetched
    ) -> None:
        """Check that no document was read twice or left out.

        Raises:
            IncompleteError: documents are certainly missing or doubled.
        """
        names = [one.namespace for one in catalog.collections if one.namespace not in fetched.gone]
        read = {name: writer.report(name).documents for name in names}
        parts = ((name, part) for name in names for part in writer.parts(name))
        found = compare_counts(session, catalog, read, overlapping(parts))
        session.notes += found.notes
        if found.failures:
            writer.forget()
            raise IncompleteError(found.complaint)

    @contextmanager
    def _keeping_oplog(self, session: Session, writer: BackupWriter) -> Iterator[None]:
        """Write the oplog of the time inside the context into the backup, if the session has it."""
        if not session.keeps_oplog:
            yield
            return
        if writer.encoding is Encoding.JSON:
            raise UsageError(
                "--consistency oplog cannot be combined with --layout komodo-json: Komodo's own "
                "restore cannot read an oplog; use --layout komodo"
            )
        (chunk,) = planner.cut(OPLOG_COLLECTION, Bounds())
        began, places = time.monotonic(), list[int]()
        packing = packer(writer.encoding, writer.level, chunk)
        with (
            writer.outputs.opened(chunk) as output,
            session.keeping(
                lambda one: places.append(output.write(packing.pack(one), one.documents))
            ),
        ):
            yield
            session.end()
            part = output.end(packing.part(time.monotonic() - began, places))
        writer.add(chunk, part)

    def _fetch_all(
        self, session: Session, writer: BackupWriter, catalog: Catalog, chunks: Sequence[Chunk]
    ) -> _Fetched:
        """Let the workers write every chunk."""
        at_once = session.at_once if writer.outputs.takes_many else 1
        groups = grouped(chunks, self.workers, at_once)
        wanted = max(1, min(self.workers, len(groups)))
        if not planner.use_processes(catalog.raw_bytes, len(catalog.collections)):
            wanted = 0
        fetched = _Fetched(processes(wanted, self.reporter))
        worker = BackupWorker(
            session,
            writer,
            at_once=at_once,
            fetch_ahead=self.workers < len(os.sched_getaffinity(0)),
            max_rate=self.how.max_rate and self.how.max_rate * 1e6 / max(1, fetched.workers),
        )

        def tick(documents: int, raw_bytes: int) -> None:
            self.reporter.update(documents, raw_bytes)
            session.check(documents, raw_bytes)

        left = Counter(chunk.namespace for chunk in chunks)

        def take(group: Group[Chunk], parts: Sequence[Part | None]) -> None:
            for chunk, part in zip(group.parts, parts, strict=True):
                take_one(chunk, part)

        def take_one(chunk: Chunk, part: Part | None) -> None:
            name = chunk.namespace
            left[name] -= 1
            if part is None and name not in fetched.gone:
                fetched.gone.add(name)
                writer.leave_out(name)
            elif part is not None and name not in fetched.gone:
                writer.add(chunk, part)
                if not left[name]:
                    self.reporter.finished(writer.report(name))

        documents = sum(found.documents for found in catalog.collections)
        self.reporter.start("backup", documents, catalog.raw_bytes)
        try:
            with executor(
                worker, fetched.workers, tick, repeats=writer.outputs.can_restart
            ) as workers:
                for group in groups:
                    workers.submit(BackupWorker.fetch, group, take)
                workers.run()
        finally:
            self.reporter.stop()
        return fetched
