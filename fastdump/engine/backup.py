"""A backup: catalog, plan, chunks fetched and packed by workers, joined, and put in place."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.packing import describe_losses, packer
from fastdump.engine.pool import WorkerPool, warm_up
from fastdump.engine.prune import prune
from fastdump.engine.worker import ServerWorker, ahead
from fastdump.errors import IncompleteError, StorageError
from fastdump.model import Catalog, Chunk, Connection, Encoding, Losses, Part
from fastdump.mongo.bounds import BoundFinder
from fastdump.mongo.catalog import read_catalog
from fastdump.mongo.client import connect, open_database, translated
from fastdump.progress import Reporter
from fastdump.report import BackupReport
from fastdump.store.base import BackupWriter, Layout, disk, private

__all__ = ["backup", "plan_backup"]

CONSISTENCY = "none"
"""Writes that happen during the backup may or may not be in it."""


def backup(
    connection: Connection,
    database: str,
    layout: Layout,
    *,
    workers: int,
    level: int,
    max_backups: int,
    reporter: Reporter,
) -> BackupReport:
    """Back up a database, then remove surplus old backups.

    Args:
        connection: the server to read from.
        database: the database's name.
        layout: where the backup goes.
        workers: number of processes.
        level: of compression, one of `fastdump.codec.gzip.LEVELS`.
        max_backups: how many to keep; 0 keeps all.
        reporter: hears how it goes.

    Raises:
        IncompleteError: a worker died, or the backup is whole but old ones could not be removed.
        ServerError: the server cannot be reached or refuses.
        StorageError: the disk refuses.
        UsageError: there is no such database.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    catalog, chunks = plan_backup(connection, database, workers)
    writer = layout.begin(started.astimezone().replace(tzinfo=None), catalog)
    losses: defaultdict[str, list[Losses]] = defaultdict(list)
    try:
        worker = _Worker(
            connection,
            database,
            writer.encoding,
            level,
            fetch_ahead=workers < len(os.sched_getaffinity(0)),
        )
        used = _fetch_all(worker, catalog, chunks, writer, workers, reporter, losses)
        writer.commit(catalog, started, datetime.now(UTC), CONSISTENCY)
    except BaseException:
        writer.abort()
        raise
    return BackupReport(
        name=writer.name,
        path=writer.path,
        database=database,
        server=catalog.server,
        consistency=CONSISTENCY,
        workers=used,
        seconds=time.monotonic() - clock,
        collections=tuple(writer.report(found.name) for found in catalog.collections),
        pruned=_prune(layout, max_backups, writer.name),
        notes=tuple(describe_losses(catalog, losses)) if writer.encoding is Encoding.JSON else (),
    )


def plan_backup(connection: Connection, database: str, workers: int) -> tuple[Catalog, list[Chunk]]:
    """What a backup would read, and in which chunks.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: there is no such database.
    """
    with connect(connection) as client, translated(connection):
        catalog = read_catalog(client, connection, database)
        if planner.use_processes(catalog.raw_bytes):
            warm_up()
        finder = BoundFinder(open_database(client, database))
        chunks = planner.plan(
            catalog, workers, lambda found, count: finder.find(found.data_name, count)
        )
    return catalog, chunks


def _fetch_all(
    worker: _Worker,
    catalog: Catalog,
    chunks: Sequence[Chunk],
    writer: BackupWriter,
    workers: int,
    reporter: Reporter,
    losses: defaultdict[str, list[Losses]],
) -> int:
    """Have every chunk written; returns how many processes that took, 0 for this one alone."""
    documents = sum(found.documents for found in catalog.collections)
    raw_bytes = catalog.raw_bytes
    size = min(workers, len(chunks)) if planner.use_processes(raw_bytes) else 0
    left = Counter(chunk.collection for chunk in chunks)
    reporter.start("backup", documents, raw_bytes)
    try:
        with WorkerPool[_Worker, _Job, Part](worker, size, reporter.update) as pool:
            for chunk in chunks:
                path = writer.part_path(chunk.collection, chunk.number)
                pool.submit(_Worker.fetch, _Job(chunk, path))
            for job, part in pool.results():
                name = job.chunk.collection
                writer.add(name, job.chunk.number, part)
                if part.losses is not None:
                    losses[name].append(part.losses)
                left[name] -= 1
                if not left[name]:
                    reporter.finished(writer.report(name))
    finally:
        reporter.stop()
    return size


def _prune(layout: Layout, max_backups: int, name: str) -> tuple[str, ...]:
    try:
        return prune(layout, max_backups).removed
    except StorageError as error:
        raise IncompleteError(
            f"the backup {name} is complete, but old ones could not be removed: {error}"
        ) from error


@dataclass(frozen=True, slots=True)
class _Job:
    chunk: Chunk
    path: Path

    def __str__(self) -> str:
        return str(self.chunk)


class _Worker(ServerWorker):
    """Fetches chunks into part files."""

    def __init__(
        self,
        connection: Connection,
        database: str,
        encoding: Encoding,
        level: int,
        *,
        fetch_ahead: bool,
    ) -> None:
        super().__init__(connection, database)
        self._encoding = encoding
        self._level = level
        self._ahead = fetch_ahead

    def fetch(self, job: _Job) -> Part:
        """Write the chunk's documents.

        Raises:
            ServerError: the server cannot be reached or refuses.
            StorageError: the disk refuses.
        """
        began = time.monotonic()
        packing = packer(self._encoding, self._level, job.chunk)
        with disk(job.path), open(job.path, "wb", opener=private) as file:
            for batch in self._at_least_one(job.chunk):
                file.write(packing.pack(batch))
                self.done(batch.documents, len(batch.data))
        return packing.part(job.path, time.monotonic() - began)

    def _at_least_one(self, chunk: Chunk) -> Iterator[Batch]:
        """The chunk's batches; an empty collection is one empty batch, for a valid gzip file."""
        empty = True
        batches = self.batches(chunk)
        for batch in ahead(batches) if self._ahead else batches:
            empty = False
            yield batch
        if empty:
            yield Batch(b"", 0)
