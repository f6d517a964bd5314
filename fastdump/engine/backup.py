"""A backup: catalog, plan, chunks fetched and packed by workers, joined, and put in place."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from blake3 import blake3

from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.packing import describe_losses, packer
from fastdump.engine.pool import WorkerPool, warm_up
from fastdump.engine.prune import prune
from fastdump.engine.worker import ServerWorker, ahead
from fastdump.errors import ChunkLostError, IncompleteError, StorageError, UsageError
from fastdump.model import Catalog, Chunk, Connection, Encoding, Losses, Namespace, Part, Selection
from fastdump.mongo.bounds import BoundFinder
from fastdump.mongo.catalog import read_catalog, read_names
from fastdump.mongo.client import connect, has_own_records, members, translated
from fastdump.mongo.retry import retrying
from fastdump.progress import Reporter
from fastdump.report import BackupReport
from fastdump.store.base import BackupWriter, Destination
from fastdump.store.dated import DatedFolders
from fastdump.store.journal import Planned
from fastdump.store.writing import FolderWriter

__all__ = ["backup", "plan_backup"]

CONSISTENCY = "none"
"""Writes that happen during the backup may or may not be in it."""

_RESTARTS = 3
"""How often a chunk is read again from its beginning, where nothing else is possible."""


def backup(
    connection: Connection,
    selection: Selection,
    destination: Destination,
    *,
    workers: int,
    level: int,
    max_backups: int,
    max_rate: float | None = None,
    resume: bool = False,
    reporter: Reporter,
) -> BackupReport:
    """Back up a database, or all, then remove surplus old backups.

    Args:
        connection: the server to read from.
        selection: what of it.
        destination: where the backup goes.
        workers: number of processes.
        level: of compression, one of `fastdump.codec.gzip.LEVELS`.
        max_backups: how many to keep; 0 keeps all.
        max_rate: how many megabytes of documents may be read in a second.
        resume: go on with what an earlier run left behind, and leave it behind for a later one.
        reporter: hears how it goes.

    Raises:
        IncompleteError: a worker died, or the backup is whole but old ones could not be removed.
        ServerError: the server cannot be reached or refuses.
        StorageError: the disk refuses.
        UsageError: there is no such database.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    readers = members(connection)
    writer: BackupWriter
    if resume:
        writer, planned, left = _go_on(destination, readers, selection, workers, level)
        started, catalog, chunks = planned.started, planned.catalog, left
    else:
        catalog, chunks = plan_backup(readers, selection, workers)
        writer = destination.begin(started.astimezone().replace(tzinfo=None), catalog, workers)
    try:
        worker = _Worker(
            readers,
            writer,
            level,
            fetch_ahead=workers < len(os.sched_getaffinity(0)),
            max_rate=max_rate and max_rate * 1e6 / max(1, min(workers, len(chunks))),
        )
        used, parts = _fetch_all(worker, catalog, chunks, writer, workers, reporter)
        notes = _changes(readers[0], selection, catalog)
        writer.commit(catalog, started, datetime.now(UTC), CONSISTENCY)
    except BaseException:
        writer.abort()
        raise
    if writer.encoding is Encoding.JSON:
        notes += describe_losses(catalog, _losses(parts))
    if isinstance(destination, DatedFolders):
        notes += (f"{path}: a killed backup left it behind" for _begun, path in destination.stale())
    return BackupReport(
        name=writer.name,
        path=writer.path,
        databases=tuple(sorted({found.database for found in catalog.collections})),
        server=catalog.server,
        consistency=CONSISTENCY,
        workers=used,
        seconds=time.monotonic() - clock,
        collections=tuple(writer.report(found.namespace) for found in catalog.collections),
        interruptions=sum(part.interruptions for _name, part in parts),
        pruned=_prune(destination, max_backups, writer.name),
        notes=tuple(notes),
    )


def _go_on(
    destination: Destination,
    readers: Sequence[Connection],
    selection: Selection,
    workers: int,
    level: int,
) -> tuple[FolderWriter, Planned, list[Chunk]]:
    """The newest unfinished backup of the same settings with what is left to do, or a new one."""
    if not isinstance(destination, DatedFolders):
        raise UsageError("--resume is for dated backups: leave --out out")
    told = f"{readers[0].shown} {selection} {level} {destination.told}"
    settings = blake3(told.encode()).hexdigest()
    if found := destination.resume(settings):
        writer, planned, finished = found
        try:
            if _is_same(readers[0], selection, planned.catalog):
                done = writer.resume(planned, finished)
                writer.keep_journal(planned)
                return writer, planned, [chunk for chunk in planned.chunks if chunk not in done]
        except BaseException:
            writer.abandon()
            raise
        writer.abandon()
    started = datetime.now(UTC)
    catalog, chunks = plan_backup(readers, selection, workers)
    writer = destination.begin(started.astimezone().replace(tzinfo=None), catalog, workers)
    planned = Planned(settings, started, catalog, tuple(chunks))
    writer.keep_journal(planned)
    return writer, planned, chunks


def _is_same(connection: Connection, selection: Selection, before: Catalog) -> bool:
    """Whether the collections are still those that were planned, and not others of their names."""
    with connect(connection) as client, translated(connection):
        now = read_names(client, selection)
    return all(now.get(found.namespace, found.uuid) == found.uuid for found in before.collections)


def _changes(connection: Connection, selection: Selection, before: Catalog) -> list[str]:
    """Which collections came and went while they were read."""
    with connect(connection) as client, translated(connection):
        new = retrying(connection)(read_names, client, selection)
    old = {found.namespace: found.uuid for found in before.collections if "$" not in found.name}
    names = {uuid: name for name, uuid in new.items() if uuid is not None}
    notes = []
    for name, uuid in old.items():
        if name in new and new[name] == uuid:
            continue
        if uuid in names:
            what = f"renamed to {names[uuid]}"
        else:
            what = "dropped and made again" if name in new else "dropped"
        notes.append(f"{name} was {what} during the backup, which may hold only a part of it")
    notes += [
        f"{name} was made during the backup and is not in it"
        for name, uuid in new.items()
        if name not in old and uuid not in old.values()
    ]
    return notes


def plan_backup(
    readers: Sequence[Connection], selection: Selection, workers: int
) -> tuple[Catalog, list[Chunk]]:
    """What a backup would read, and in which chunks.

    Args:
        readers: the server, or the members of a replica set that share the reading.
        selection: what of it.
        workers: how many processes share the work.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: there is no such database.
    """
    with connect(readers[0]) as client, translated(readers[0]):
        catalog = read_catalog(client, readers[0], selection)
        if planner.use_processes(catalog.raw_bytes):
            warm_up()
        finder = BoundFinder(client, records=len(readers) == 1 and has_own_records(client))
        chunks = planner.plan(catalog, workers, finder.find)
    return catalog, chunks


def _fetch_all(
    worker: _Worker,
    catalog: Catalog,
    chunks: Sequence[Chunk],
    writer: BackupWriter,
    workers: int,
    reporter: Reporter,
) -> tuple[int, list[tuple[Namespace, Part]]]:
    """Have every chunk written.

    Returns:
        How many processes that took, 0 for this one alone; and the part that each chunk became.
    """
    parts = []
    documents = sum(found.documents for found in catalog.collections)
    raw_bytes = catalog.raw_bytes
    size = min(workers, len(chunks)) if planner.use_processes(raw_bytes) else 0
    left = Counter(chunk.namespace for chunk in chunks)
    reporter.start("backup", documents, raw_bytes)
    try:
        with WorkerPool[_Worker, Chunk, Part](
            worker, size, reporter.update, repeats=writer.outputs.can_restart
        ) as pool:
            for chunk in chunks:
                pool.submit(_Worker.fetch, chunk)
            for chunk, part in pool.results():
                name = chunk.namespace
                writer.add(chunk, part)
                parts.append((name, part))
                left[name] -= 1
                if not left[name]:
                    reporter.finished(writer.report(name))
    finally:
        reporter.stop()
    return size, parts


def _losses(parts: Sequence[tuple[Namespace, Part]]) -> dict[Namespace, list[Losses]]:
    found: defaultdict[Namespace, list[Losses]] = defaultdict(list)
    for name, part in parts:
        if part.losses is not None:
            found[name].append(part.losses)
    return found


def _prune(destination: Destination, max_backups: int, name: str) -> tuple[str, ...]:
    if not isinstance(destination, DatedFolders):
        return ()
    try:
        return prune(destination, max_backups).removed
    except StorageError as error:
        raise IncompleteError(
            f"the backup {name} is complete, but old ones could not be removed: {error}"
        ) from error


class _Worker(ServerWorker):
    """Fetches chunks and writes them."""

    def __init__(
        self,
        readers: Sequence[Connection],
        writer: BackupWriter,
        level: int,
        *,
        fetch_ahead: bool,
        max_rate: float | None,
    ) -> None:
        super().__init__(*readers)
        self._max_rate = max_rate
        self._outputs = writer.outputs
        self._encoding = writer.encoding
        self._level = level if writer.compressed else None
        self._ahead = fetch_ahead

    def fetch(self, chunk: Chunk) -> Part:
        """Write the chunk's documents.

        Raises:
            ServerError: the server cannot be reached or refuses.
            StorageError: the disk refuses.
        """
        for _attempt in range(_RESTARTS if self._outputs.can_restart else 0):
            before = self.meter.total if self.meter else (0, 0)
            try:
                return self._fetch(chunk)
            except ChunkLostError:
                if self.meter is not None:
                    self.meter.reset(before)
        return self._fetch(chunk)

    def _fetch(self, chunk: Chunk) -> Part:
        began, interruptions = time.monotonic(), self.interruptions
        packing = packer(self._encoding, self._level, chunk)
        places = []
        with self._outputs.opened(chunk) as output:
            for batch in self._at_least_one(chunk):
                places.append(output.write(packing.pack(batch)))
                self.done(batch.documents, len(batch.data))
                self._wait(began, packing.raw_bytes)
        part = packing.part(time.monotonic() - began, places)
        return replace(part, interruptions=self.interruptions - interruptions)

    def _wait(self, began: float, raw_bytes: int) -> None:
        """Be no faster than this worker's share of the rate allows."""
        if self._max_rate:
            time.sleep(max(0.0, began + raw_bytes / self._max_rate - time.monotonic()))

    def _at_least_one(self, chunk: Chunk) -> Iterator[Batch]:
        """The chunk's batches; an empty collection is one empty batch, for a valid gzip file."""
        empty = True
        batches = self.batches(chunk)
        for batch in ahead(batches) if self._ahead else batches:
            empty = False
            yield batch
        if empty:
            yield Batch(b"", 0)
