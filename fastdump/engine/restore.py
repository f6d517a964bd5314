"""A restore: files cut into segments, loaded by workers, then indexes, then views."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue

from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.pool import WorkerPool
from fastdump.engine.worker import ServerWorker
from fastdump.errors import BackupDamagedError
from fastdump.model import (
    Backup,
    CollectionKind,
    Connection,
    LoadedSegment,
    Segment,
    StoredCollection,
)
from fastdump.mongo import schema
from fastdump.mongo.client import connect, open_database, server_info, translated, write_concern
from fastdump.mongo.load import MAX_NAMED, Loader, summed
from fastdump.progress import Reporter
from fastdump.report import CollectionReport, RestoreReport
from fastdump.store.base import Layout
from fastdump.store.reading import check_files, damaged, read_batches, segments

__all__ = ["RestorePlan", "plan_restore", "restore"]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do, before it does anything."""

    connection: Connection
    database: str
    backup: Backup
    collections: tuple[StoredCollection, ...]
    segments: tuple[Segment, ...]
    """The largest collection's first."""
    held: int
    """About how many documents the target already has in these collections."""
    notes: tuple[str, ...]

    @property
    def raw_bytes(self) -> int:
        """Size of the documents to load, an estimate for files that do not say."""
        return sum(segment.raw_bytes for segment in self.segments)


def plan_restore(
    connection: Connection, database: str, layout: Layout, name: str | None
) -> RestorePlan:
    """Find the backup, look at its files and at the target, write nothing.

    Args:
        connection: the server to write to.
        database: the database to write to.
        layout: where backups are.
        name: which, by name or path; None is the most recent.

    Raises:
        BackupDamagedError: a file is missing or cut.
        BackupNotFoundError: there is no such backup.
        ServerError: the target cannot be reached or refuses.
        StorageError: a file cannot be read.
    """
    backup = layout.find(name)
    collections, notes = layout.contents(backup)
    if problems := check_files(collections):
        raise BackupDamagedError(
            "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        )
    capped = _capped(backup, collections)
    cut = [
        segment
        for collection in sorted(collections, key=_index_work, reverse=True)
        for segment in segments(collection, whole=collection.name in capped)
    ]
    held, differing = _look_at_target(connection, database, collections)
    return RestorePlan(
        connection,
        database,
        backup,
        tuple(collections),
        tuple(cut),
        held,
        tuple(notes + differing),
    )


def _index_work(collection: StoredCollection) -> tuple[int, int]:
    """What comes first: indexes that take long are built while other documents are loaded.

    The server builds a collection's indexes with one thread, so that at the end, with nothing
    left to load, all other cores wait for it.
    """
    return (collection.documents or 0) * len(collection.indexes), collection.file_bytes


def _capped(backup: Backup, collections: Sequence[StoredCollection]) -> set[str]:
    """The names of those that are capped; on the way, every option and index is looked at."""
    found = set()
    with damaged(backup.path):
        for collection in collections:
            if schema.parsed(collection.options).get("capped"):
                found.add(collection.name)
            for index in collection.indexes:
                schema.check_index(index)
    return found


def _look_at_target(
    connection: Connection, name: str, collections: Sequence[StoredCollection]
) -> tuple[int, list[str]]:
    """About how many documents the target holds, and which of its collections are different."""
    held, notes = 0, []
    with connect(connection) as client:
        database = open_database(client, name)
        server_info(client, connection)
        with translated(connection):
            present = schema.existing(database)
            for collection in collections:
                options = present.get(collection.name)
                if options is None:
                    continue
                if collection.kind is not CollectionKind.VIEW:
                    held += schema.count(database, collection.data_name)
                if schema.parsed(options) != schema.parsed(collection.options):
                    notes.append(
                        f"{collection.name} exists on the target with other options, which stay "
                        "as they are; --drop would replace it"
                    )
    return held, notes


def restore(
    plan: RestorePlan,
    *,
    workers: int,
    drop: bool,
    with_indexes: bool,
    write_concern: str | None,
    reporter: Reporter,
) -> RestoreReport:
    """Load a backup: each of its documents is then in the target exactly as it was.

    Documents of the target that are not in the backup stay, unless `drop`.

    Args:
        plan: from `plan_restore`.
        workers: number of processes.
        drop: drop each collection of the backup from the target first.
        with_indexes: build the backup's indexes when a collection's documents are in.
        write_concern: a number of servers, `majority`, or a name of the server's configuration;
            None is that of the connection string, else majority.
        reporter: hears how it goes.

    Raises:
        BackupDamagedError: a file is not what was written.
        IncompleteError: a worker died.
        ServerError: the target cannot be reached or refuses.
    """
    run = _Restore(plan, with_indexes, reporter)
    size = min(workers, len(plan.segments)) if planner.use_processes(plan.raw_bytes) else 0
    clock = time.monotonic()
    reporter.start("restore", run.expected_documents, plan.raw_bytes)
    try:
        run.create(drop=drop)
        run.load(size, _Worker(plan.connection, plan.database, write_concern, workers))
        run.create_views()
    finally:
        reporter.stop()
    return run.report(size, time.monotonic() - clock)


class _Restore:
    """One restore while it runs."""

    def __init__(self, plan: RestorePlan, with_indexes: bool, reporter: Reporter) -> None:
        self._plan = plan
        self._with_indexes = with_indexes
        self._reporter = reporter
        self._stored = {collection.name: collection for collection in plan.collections}
        self._loaded: defaultdict[str, list[LoadedSegment]] = defaultdict(list)
        self._failures: list[str] = []
        self._indexes = 0

    @property
    def expected_documents(self) -> int:
        return sum(segment.documents or 0 for segment in self._plan.segments)

    def create(self, *, drop: bool) -> None:
        """Make the collections, so that documents arrive in what they were taken from."""
        plan = self._plan
        with connect(plan.connection) as client, translated(plan.connection):
            database = open_database(client, plan.database)
            if drop:
                for collection in plan.collections:
                    schema.drop(database, collection.name)
            for collection in plan.collections:
                if collection.kind is not CollectionKind.VIEW:
                    self._failures += schema.create(database, collection)

    def create_views(self) -> None:
        """Make the views, when what they look at is there."""
        plan = self._plan
        views = [found for found in plan.collections if found.kind is CollectionKind.VIEW]
        if not views:
            return
        with connect(plan.connection) as client, translated(plan.connection):
            database = open_database(client, plan.database)
            for view in views:
                self._failures += schema.create(database, view)

    def load(self, size: int, worker: _Worker) -> None:
        """Load every segment, and build a collection's indexes when its last one is in."""
        plan = self._plan
        left = Counter(segment.collection for segment in plan.segments)
        with WorkerPool[_Worker, _Job, _Result](worker, size, self._reporter.update) as pool:
            for segment in plan.segments:
                pool.submit(_Worker.load, segment)
            for job, result in pool.results():
                if isinstance(result, LoadedSegment):
                    self._loaded[job.collection].append(result)
                    left[job.collection] -= 1
                    if left[job.collection]:
                        continue
                    self._reporter.finished(self._collection_report(job.collection))
                    stored = self._stored[job.collection]
                    if self._with_indexes and stored.indexes:
                        pool.submit_next(_Worker.build_indexes, _IndexJob(stored))
                elif isinstance(job, _IndexJob):
                    self._indexes += len(job.stored.indexes) - len(result)
                    self._failures += result

    def report(self, workers: int, seconds: float) -> RestoreReport:
        plan = self._plan
        loaded = [result for results in self._loaded.values() for result in results]
        rejections = [rejection for result in loaded for rejection in result.rejections]
        return RestoreReport(
            name=plan.backup.name,
            path=plan.backup.path,
            database=plan.database,
            workers=workers,
            seconds=seconds,
            collections=tuple(self._collection_report(name) for name in sorted(self._stored)),
            inserted=sum(result.inserted for result in loaded),
            replaced=sum(result.replaced for result in loaded),
            unchanged=sum(result.unchanged for result in loaded),
            indexes=self._indexes,
            rejected=sum(result.rejected for result in loaded),
            rejections=tuple(rejections[:MAX_NAMED]),
            failures=tuple(self._failures),
            notes=plan.notes,
        )

    def _collection_report(self, name: str) -> CollectionReport:
        stored, results = self._stored[name], self._loaded[name]
        return CollectionReport(
            name,
            stored.kind,
            sum(result.documents for result in results),
            sum(result.raw_bytes for result in results),
            stored.file_bytes,
            sum(result.seconds for result in results),
        )


@dataclass(frozen=True, slots=True)
class _IndexJob:
    stored: StoredCollection

    @property
    def collection(self) -> str:
        return self.stored.name

    def __str__(self) -> str:
        return f"the indexes of {self.stored.name}"


_Job = Segment | _IndexJob
_Result = LoadedSegment | list[str]


class _Worker(ServerWorker):
    """Loads segments and builds indexes."""

    def __init__(
        self, connection: Connection, database: str, write_concern: str | None, senders: int
    ) -> None:
        super().__init__(connection, database)
        self._write_concern = write_concern
        self._senders = senders

    def load(self, job: _Job) -> _Result:
        """Load the documents of a segment.

        A file that cannot be cut is read here alone, and sent by several threads.
        """
        assert isinstance(job, Segment)  # noqa: S101
        began = time.monotonic()
        concern = write_concern(self.client, self._write_concern)
        loaders = [
            Loader(self.database, job.target, concern)
            for _sender in range(self._senders if job.members is None else 1)
        ]
        if len(loaders) == 1:
            for batch in read_batches(job):
                self._send(loaders[0], batch)
        else:
            self._send_all(loaders, read_batches(job))
        return summed(loaders, time.monotonic() - began)

    def _send(self, loader: Loader, batch: Batch) -> None:
        with translated(self.connection):
            loader.load(batch)
        self.done(batch.documents, len(batch.data))

    def _send_all(self, loaders: list[Loader], batches: Iterator[Batch]) -> None:
        """Send by as many threads as there are loaders; few batches wait, so memory is bounded."""
        idle = SimpleQueue[Loader]()
        for loader in loaders:
            idle.put(loader)

        def send(batch: Batch) -> None:
            loader = idle.get()
            try:
                self._send(loader, batch)
            finally:
                idle.put(loader)

        with ThreadPoolExecutor(len(loaders), "fastdump-send") as threads:
            sending = deque[Future[None]]()
            for batch in batches:
                sending.append(threads.submit(send, batch))
                if len(sending) > 2 * len(loaders):
                    sending.popleft().result()
            for sent in sending:
                sent.result()

    def build_indexes(self, job: _Job) -> _Result:
        """Build all indexes of a collection; returns what could not be built."""
        assert isinstance(job, _IndexJob)  # noqa: S101
        with translated(self.connection):
            concern = write_concern(self.client, self._write_concern)
            return schema.create_indexes(self.database, job.stored, concern)
