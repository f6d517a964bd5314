"""A restore: a backup is found, its files are cut into segments, and workers load those."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fastdump.engine.choosing import Filters, choose
from fastdump.engine.loading import Loading, LoadWorker, Target, keeps_order, look_at
from fastdump.engine.streaming import StreamLoading
from fastdump.errors import BackupDamagedError, FormatError
from fastdump.model import (
    Backup,
    Connection,
    Encoding,
    Loaded,
    LoadOptions,
    Namespace,
    Segment,
    StoredCollection,
)
from fastdump.mongo import ejson, indexes, schema
from fastdump.mongo.authorization import Authorization
from fastdump.mongo.load import summed
from fastdump.progress import Reporter
from fastdump.report import RestoreReport
from fastdump.store.archive import Archive
from fastdump.store.base import Source
from fastdump.store.reading import check_files, damaged, read_batches, read_lines, segments

__all__ = ["RestorePlan", "plan_restore", "restore"]

_TOLD = 3
"""How much damage of a file is told in full."""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do, before it does anything."""

    connection: Connection
    backup: Backup
    collections: dict[Namespace, StoredCollection]
    """By their names in the backup, called as on the target."""
    authorization: Authorization | None
    segments: tuple[Segment, ...]
    """The largest collection's first; none of an archive, which is read as it comes."""
    archive: Archive | None
    how: LoadOptions
    held: int
    """About how many documents the target already has in these collections."""
    lost: tuple[str, ...]
    """What is known to be damaged, and is left out."""
    notes: tuple[str, ...]

    @property
    def databases(self) -> list[str]:
        """Those that are written."""
        return sorted({found.database for found in self.collections.values()})

    @property
    def raw_bytes(self) -> int:
        """Size of the documents to load, an estimate for files that do not say."""
        if self.archive is not None:
            return self.archive.raw_bytes
        return sum(segment.raw_bytes for segment in self.segments)


def plan_restore(
    connection: Connection,
    source: Source,
    name: str | None,
    *,
    workers: int,
    how: LoadOptions,
    filters: Filters,
) -> RestorePlan:
    """Find the backup, look at its files and at the target, write nothing.

    Args:
        connection: the server to write to.
        source: where the backup is.
        name: which, by name or path; None is the most recent.
        workers: how many processes will share it.
        how: what becomes of the target.
        filters: what of the backup is wanted, and where it goes.

    Raises:
        BackupDamagedError: a file is missing or cut.
        BackupNotFoundError: there is no such backup, or a pattern matches nothing of it.
        ServerError: the target cannot be reached or refuses.
        StorageError: a file cannot be read.
        UsageError: several collections would become one.
    """
    backup = source.find(name)
    found, notes = source.contents(backup)
    chosen = choose(backup, found, filters, how)
    collections = list(chosen.collections.values())
    lost: list[str] = []
    if problems := check_files(collections):
        lost = [f"{problem.path}: {problem.message}" for problem in problems]
        if not how.salvage:
            raise BackupDamagedError(f"{'; '.join(lost)}; --salvage restores what is intact")
    with damaged(backup.path):
        notes += _legacy_indexes(collections) if how.indexes else []
        cut = list(_cut(collections, workers, how, lost))
    held, differing = look_at(connection, collections, how)
    return RestorePlan(
        connection,
        backup,
        chosen.collections,
        chosen.authorization,
        tuple(cut),
        source if isinstance(source, Archive) else None,
        how,
        held,
        tuple(lost),
        (*notes, *chosen.notes, *differing),
    )


def _cut(
    collections: Sequence[StoredCollection], workers: int, how: LoadOptions, lost: list[str]
) -> Iterator[Segment]:
    for collection in sorted(collections, key=_index_work, reverse=True):
        if collection.path is not None and not collection.path.exists():
            continue  # only where what is intact is wanted
        whole = keeps_order(collection, how)
        salvaged = lost if how.salvage else None
        yield from segments(collection, workers, whole=whole, lost=salvaged)


def _index_work(collection: StoredCollection) -> tuple[int, int]:
    """What comes first: indexes that take long are built while other documents are loaded.

    The server builds a collection's indexes with one thread, so that at the end, with nothing
    left to load, all other cores wait for it.
    """
    return (collection.documents or 0) * len(collection.indexes), collection.file_bytes


def _legacy_indexes(collections: Iterable[StoredCollection]) -> list[str]:
    """Which indexes are not built as they are described.

    Raises:
        FormatError: one of them is no index.
    """
    notes = []
    for collection in collections:
        for index in collection.indexes:
            indexes.check(index)
            described = schema.parsed(index)
            changed = indexes.converted(described)[1]
            notes += [f"{collection.name}: index {described['name']}: {one}" for one in changed]
    return notes


def restore(plan: RestorePlan, *, workers: int, reporter: Reporter) -> RestoreReport:
    """Load a backup: each of its documents is then in the target exactly as it was.

    Documents of the target that are not in the backup stay, unless the plan says `drop`.

    Args:
        plan: from `plan_restore`.
        workers: number of processes.
        reporter: hears how it goes.

    Raises:
        BackupDamagedError: a file is not what was written.
        IncompleteError: a worker died, or a document was refused and that is to be the end.
        ServerError: the target cannot be reached or refuses.
    """
    target = Target(plan.connection, plan.how, plan.authorization)
    worker = _Worker(target, workers)
    definitions = list(plan.collections.values())
    if plan.archive is None:
        run: Loading[Segment] = Loading(target, definitions, plan.segments, reporter)
    else:
        run = StreamLoading(target, plan.collections, plan.archive.blocks(plan.backup), reporter)
    run.failures += plan.lost
    documents = sum(segment.documents or 0 for segment in plan.segments)
    run.run("restore", documents, plan.raw_bytes, workers, worker)
    backup = plan.backup
    return run.report(partial(RestoreReport, name=backup.name, path=backup.path, notes=plan.notes))


def _told(lost: Sequence[str]) -> str | None:
    """What a report says of damage."""
    if not lost:
        return None
    more = f"; and {len(lost) - _TOLD} more" if len(lost) > _TOLD else ""
    return "; ".join(lost[:_TOLD]) + more


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
        lost: list[str] = []
        self.send_all(loaders, read_batches(piece, lost))
        return replace(summed(loaders, time.monotonic() - began), damage=_told(lost))

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
