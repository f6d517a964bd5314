"""A backup: catalog, plan, chunks fetched and packed by workers, joined, and put in place."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from blake3 import blake3

from fastdump.engine import planner
from fastdump.engine.backup_worker import BackupWorker
from fastdump.engine.consistency import read_consistently
from fastdump.engine.counting import compare_counts, overlapping
from fastdump.engine.oplog import OPLOG_COLLECTION
from fastdump.engine.packing import describe_losses, packer
from fastdump.engine.pool import WorkerPool
from fastdump.engine.processes import processes
from fastdump.engine.prune import prune
from fastdump.engine.reading import Reading
from fastdump.errors import (
    IncompleteError,
    StorageError,
    UsageError,
)
from fastdump.model import (
    OPLOG,
    Bounds,
    Catalog,
    Chunk,
    Connection,
    Consistency,
    Encoding,
    Losses,
    Namespace,
    Part,
    ReadOptions,
    Selection,
)
from fastdump.mongo.client import members
from fastdump.progress import Reporter
from fastdump.report import BackupReport, PruneReport
from fastdump.store.base import BackupWriter, Destination
from fastdump.store.dated import DatedFolders
from fastdump.store.journal import Planned
from fastdump.store.writing import FolderWriter

__all__ = ["backup"]


def backup(
    connection: Connection,
    selection: Selection,
    destination: Destination,
    *,
    how: ReadOptions,
    workers: int,
    level: int,
    max_backups: int,
    resume: bool = False,
    reporter: Reporter,
) -> BackupReport:
    """Back up a database, or all, then remove surplus old backups.

    Args:
        connection: the server to read from.
        selection: what of it.
        destination: where the backup goes.
        how: how the server is read.
        workers: number of processes.
        level: of compression, one of `fastdump.codec.gzip.LEVELS`.
        max_backups: how many to keep; 0 keeps all.
        resume: go on with what an earlier run left behind, and leave it behind for a later one.
        reporter: hears how it goes.

    Raises:
        IncompleteError: a worker died, documents are missing or doubled, or the backup is whole but
            old ones could not be removed.
        ServerError: the server cannot be reached or refuses.
        StorageError: the disk refuses.
        UsageError: there is no such database, or the options contradict each other.
    """
    clock = time.monotonic()
    readers = members(connection)
    with ExitStack() as held:
        writing = _Writing(destination, workers, level, how, resume, reporter, held)
        written = read_consistently(
            how,
            readers,
            selection,
            workers,
            reporter,
            work=writing.run,
            repeats=destination.can_repeat,
        )
        # Before others may write there.
        pruned = _prune(destination, max_backups, written.writer.name)
    writer, catalog, notes = (
        written.writer,
        written.catalog,
        [*written.catalog.notes, *written.notes],
    )
    if writer.encoding is Encoding.JSON:
        notes += describe_losses(catalog, _losses(writer, catalog))
    if isinstance(destination, DatedFolders):
        notes += (f"{path}: a killed backup left it behind" for _begun, path in destination.stale())
    notes += pruned.notes
    return BackupReport(
        name=writer.name,
        path=writer.path,
        databases=tuple(sorted({found.database for found in catalog.collections} - {""})),
        server=catalog.server,
        consistency=written.consistency,
        workers=written.fetched.workers,
        seconds=time.monotonic() - clock,
        collections=tuple(
            writer.report(found.namespace)
            for found in catalog.collections
            if found.namespace != OPLOG
        ),
        oplog=writer.report(OPLOG) if OPLOG_COLLECTION in catalog.collections else None,
        interruptions=sum(
            part.interruptions
            for found in catalog.collections
            for part in writer.parts(found.namespace)
        ),
        pruned=pruned.removed,
        notes=tuple(notes),
    )


@dataclass(slots=True)
class _Fetched:
    """What became of the chunks."""

    workers: int
    """How many processes that took, 0 for this one alone."""
    gone: set[Namespace] = field(default_factory=set)
    """What was no longer there."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A backup that is in its place."""

    writer: BackupWriter
    catalog: Catalog
    consistency: Consistency
    fetched: _Fetched
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Writing:
    """One backup while it runs."""

    destination: Destination
    workers: int
    level: int
    how: ReadOptions
    resume: bool
    reporter: Reporter
    held: ExitStack
    """Keeps the place locked until old backups are removed too."""

    def run(self, reading: Reading) -> _Written:
        """Plan, fetch, and put in place."""
        writer, planned, chunks = self._resumed(reading) if self.resume else self._new(reading)
        try:
            with self._keeping_oplog(reading, writer):
                fetched = self._fetch_all(reading, writer, planned.catalog, chunks)
            self._check_counts(reading, writer, planned.catalog, fetched)
            catalog, consistency = reading.finish(planned.catalog, fetched.gone)
            writer.commit(catalog, planned.started, datetime.now(UTC), consistency)
        except BaseException:
            writer.abort()
            raise
        return _Written(writer, catalog, consistency, fetched, reading.notes)

    def _check_counts(
        self, reading: Reading, writer: BackupWriter, catalog: Catalog, fetched: _Fetched
    ) -> None:
        """See that no document was read twice or left out.

        Raises:
            IncompleteError: some were, for certain.
        """
        names = [one.namespace for one in catalog.collections if one.namespace not in fetched.gone]
        read = {name: writer.report(name).documents for name in names}
        parts = ((name, part) for name in names for part in writer.parts(name))
        found = compare_counts(reading, catalog, read, overlapping(parts))
        reading.notes += found.notes
        if found.failures:
            writer.forget()
            raise IncompleteError(found.complaint)

    def _new(self, reading: Reading) -> tuple[BackupWriter, Planned, Sequence[Chunk]]:
        started = datetime.now(UTC)
        catalog, chunks = reading.plan()
        if reading.keeps_oplog:
            catalog = replace(catalog, collections=(*catalog.collections, OPLOG_COLLECTION))
        writer = self.destination.begin(
            started.astimezone().replace(tzinfo=None), catalog, self.workers
        )
        self.held.callback(writer.close)
        settings = self._settings(reading) if self.resume else ""
        return writer, Planned(settings, started, catalog, tuple(chunks), reading.at), chunks

    def _resumed(self, reading: Reading) -> tuple[BackupWriter, Planned, Sequence[Chunk]]:
        """The newest unfinished backup of the same settings and what it left, or a new one."""
        if not isinstance(self.destination, DatedFolders):
            raise UsageError("--resume is for dated backups: leave --out out")
        if not reading.can_resume:
            raise UsageError(f"--resume does not fit --consistency {reading.mode}")
        if found := self.destination.resume(self._settings(reading)):
            writer, planned, finished = found
            self.held.callback(writer.close)
            try:
                if reading.resumes(planned.at, planned.catalog):
                    done = writer.resume(planned, finished)
                    writer.keep_journal(planned)
                    left = [one for one in planned.chunks if one not in done]
                    reading.expected = sum(one.raw_bytes for one in left)
                    return writer, planned, left
            except BaseException:
                writer.close()
                raise
            writer.close()
        new, planned, chunks = self._new(reading)
        assert isinstance(new, FolderWriter)  # noqa: S101 - that of dated folders
        try:
            new.keep_journal(planned)
        except BaseException:
            new.abort()
            raise
        return new, planned, chunks

    def _settings(self, reading: Reading) -> str:
        """What tells runs apart that would not make the same backup."""
        assert isinstance(self.destination, DatedFolders)  # noqa: S101 - only these resume
        told = (
            f"{reading.readers[0].shown} {reading.selection} {reading.mode} {self.level} "
            f"{self.destination.told}"
        )
        return blake3(told.encode()).hexdigest()

    @contextmanager
    def _keeping_oplog(self, reading: Reading, writer: BackupWriter) -> Iterator[None]:
        """Have what happens within written into the backup, if that is wanted."""
        if not reading.keeps_oplog:
            yield
            return
        if writer.encoding is Encoding.JSON:
            raise UsageError("Komodo's own restore knows no oplog: use --layout komodo for it")
        (chunk,) = planner.cut(OPLOG_COLLECTION, Bounds())
        began, places = time.monotonic(), list[int]()
        packing = packer(writer.encoding, self.level if writer.compressed else None, chunk)
        with (
            writer.outputs.opened(chunk) as output,
            reading.keeping(lambda batch: places.append(output.write(packing.pack(batch)))),
        ):
            yield
            reading.end()
        writer.add(chunk, packing.part(time.monotonic() - began, places))

    def _fetch_all(
        self, reading: Reading, writer: BackupWriter, catalog: Catalog, chunks: Sequence[Chunk]
    ) -> _Fetched:
        """Have every chunk written."""
        wanted = max(1, min(self.workers, len(chunks)))
        if not planner.use_processes(catalog.raw_bytes):
            wanted = 0
        fetched = _Fetched(processes(wanted, self.reporter))
        worker = BackupWorker(
            reading,
            writer,
            self.level,
            fetch_ahead=self.workers < len(os.sched_getaffinity(0)),
            max_rate=self.how.max_rate and self.how.max_rate * 1e6 / max(1, fetched.workers),
        )

        def tick(documents: int, raw_bytes: int) -> None:
            self.reporter.update(documents, raw_bytes)
            reading.check(documents, raw_bytes)

        left = Counter(chunk.namespace for chunk in chunks)
        documents = sum(found.documents for found in catalog.collections)
        self.reporter.start("backup", documents, catalog.raw_bytes)
        try:
            with WorkerPool[BackupWorker, Chunk, Part | None](
                worker, fetched.workers, tick, repeats=writer.outputs.can_restart
            ) as pool:
                for chunk in chunks:
                    pool.submit(BackupWorker.fetch, chunk)
                for chunk, part in pool.results():
                    name = chunk.namespace
                    left[name] -= 1
                    if part is None and name not in fetched.gone:
                        fetched.gone.add(name)
                        writer.leave_out(name)
                    elif part is not None and name not in fetched.gone:
                        writer.add(chunk, part)
                        if not left[name]:
                            self.reporter.finished(writer.report(name))
        finally:
            self.reporter.stop()
        return fetched


def _losses(writer: BackupWriter, catalog: Catalog) -> dict[Namespace, list[Losses]]:
    """Return what each collection lost, also in the parts that an earlier run wrote."""
    found: defaultdict[Namespace, list[Losses]] = defaultdict(list)
    for name in (one.namespace for one in catalog.collections):
        found[name] += (part.losses for part in writer.parts(name) if part.losses is not None)
    return found


def _prune(destination: Destination, max_backups: int, name: str) -> PruneReport:
    if not isinstance(destination, DatedFolders):
        return PruneReport((), (), tuple(destination.volume.notes))
    try:
        return prune(destination, max_backups, newest=name)
    except StorageError as error:
        raise IncompleteError(
            f"the backup {name} is complete, but old ones could not be removed: {error}"
        ) from error
