"""A restore: a backup is found, its files are cut into segments, and workers load those."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from fastdump.engine.loading import Loading, LoadWorker, Target, look_at
from fastdump.errors import BackupDamagedError, FormatError
from fastdump.model import (
    Backup,
    Connection,
    Encoding,
    Loaded,
    Segment,
    StoredCollection,
)
from fastdump.mongo import ejson, schema
from fastdump.mongo.load import summed
from fastdump.progress import Reporter
from fastdump.report import RestoreReport
from fastdump.store.base import Source
from fastdump.store.reading import check_files, damaged, read_batches, read_lines, segments

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
    connection: Connection,
    database: str | None,
    source: Source,
    name: str | None,
    *,
    workers: int,
) -> RestorePlan:
    """Find the backup, look at its files and at the target, write nothing.

    Args:
        connection: the server to write to.
        database: the database to write to; None is the one that mongodump dumped, else `komodo`.
        source: where the backup is.
        name: which, by name or path; None is the most recent.
        workers: how many processes will share it.

    Raises:
        BackupDamagedError: a file is missing or cut.
        BackupNotFoundError: there is no such backup.
        ServerError: the target cannot be reached or refuses.
        StorageError: a file cannot be read.
    """
    backup = source.find(name)
    collections, notes = source.contents(backup)
    if problems := check_files(collections):
        raise BackupDamagedError(
            "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
        )
    capped = _capped(backup, collections)
    cut = [
        segment
        for collection in sorted(collections, key=_index_work, reverse=True)
        for segment in segments(collection, workers, whole=collection.name in capped)
    ]
    if database is None:
        database = source.target(backup)
    held, differing = look_at(connection, database, collections)
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
    target = Target(plan.connection, plan.database, drop, with_indexes, write_concern)
    run = Loading(target, plan.collections, plan.segments, reporter)
    documents = sum(segment.documents or 0 for segment in plan.segments)
    run.run("restore", documents, workers, _Worker(target, workers))
    backup = plan.backup
    return run.report(partial(RestoreReport, name=backup.name, path=backup.path, notes=plan.notes))


class _Worker(LoadWorker[Segment]):
    """Loads segments."""

    def load(self, piece: Segment) -> Loaded:
        """Load the documents of a segment.

        A file of BSON that cannot be cut is read here alone, and sent by several threads.
        """
        began = time.monotonic()
        if piece.encoding is Encoding.JSON:
            return self._load_lines(piece, began)
        senders = self._senders if piece.is_foreign and not piece.ordered else 1
        loaders = self.loaders(piece.target, senders)
        self.send_all(loaders, read_batches(piece))
        return summed(loaders, time.monotonic() - began)

    def _load_lines(self, segment: Segment, began: float) -> Loaded:
        """The same for JSON lines: what is no document is counted, the rest is loaded."""
        (loader,) = loaders = self.loaders(segment.target, 1)
        damage = None
        try:
            for lines in read_lines(segment):
                batch, bad = ejson.decode(lines)
                self.send(loader, batch)
                for line in bad:
                    loader.reject(f"at line {line.number} of {segment.path}", line.reason)
        except FormatError as error:
            # Every segment of the file comes to the same end.
            if not segment.number:
                damage = f"{segment.path}: {error}; what came before that was restored"
        return replace(summed(loaders, time.monotonic() - began), damage=damage)
