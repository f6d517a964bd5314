"""A restore: a backup is found, its files are cut into segments, and workers load those."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Some
from dataclasses import dataclass, replace
from functools import partial

from fastdump.codec.bson import Batch
from fastdump.codec.definitions import check
from fastdump.engine.load.target import Loading, keeps_order, look_at
from fastdump.engine.load.time_series import of_backup
from fastdump.engine.load.worker import LoadWorker, Operations, Target
from fastdump.engine.restore.archive_stream import StreamLoading
from fastdump.engine.restore.filters import Filters, choose, target_of
from fastdump.engine.restore.oplog_spool import OplogSpool
from fastdump.errors import BackupDamagedError, FormatError, UsageError
from fastdump.layouts.interface import Reader, Source, Stream
from fastdump.layouts.mongodump import oplog_of
from fastdump.layouts.segments import FileReader, damaged, read_lines
from fastdump.model import (
    Backup,
    ClusterTime,
    Connection,
    Consistency,
    Encoding,
    Loaded,
    LoadOptions,
    Namespace,
    Segment,
    StoredCollection,
)
from fastdump.mongo import ejson, indexes
from fastdump.mongo.authorization import Authorization
from fastdump.mongo.client import connect, translated
from fastdump.mongo.load import summed
from fastdump.mongo.replay import check_rights
from fastdump.progress import Reporter
from fastdump.report import RestoreReport

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
    archive: Stream | None
    reader: Reader
    """What reads any other backup."""
    how: LoadOptions
    held: int
    """About how many documents the target already has in these collections."""
    lost: tuple[str, ...]
    """What is known to be damaged, and is left out."""
    notes: tuple[str, ...]
    is_of_another: bool
    """Whether the oplog to replay is not the backup's own."""
    name_of: Callable[[Namespace], Namespace | None]
    """What a collection of the backup's oplog is called on the target; None for an unwanted one."""

    @property
    def databases(self) -> list[str]:
        """Those that are written."""
        return sorted({found.namespace.database for found in self.collections.values()})

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
        UsageError: several collections would become one, or measurements would be mixed into a
            time series.
    """
    backup = _with_oplog(source.find(name), how)
    found, notes = source.contents(backup)
    notes += _about_oplog(backup, found, filters, how)
    chosen = choose(backup, found, filters, how)
    collections = list(chosen.collections.values())
    replayed = [backup.oplog] if backup.oplog is not None and how.oplog_replay else []
    lost: list[str] = []
    reader = source.reader
    if problems := [
        *reader.missing(collections),
        *_oplog_reader(reader, how).missing(replayed),
    ]:
        lost = [f"{problem.path}: {problem.message}" for problem in problems]
        if not how.salvage:
            raise BackupDamagedError(f"{'; '.join(lost)}; --salvage restores what is intact")
    with damaged(backup.path):
        for collection in collections:
            check(collection)
        notes += _legacy_indexes(collections) if how.indexes else []
        cut = list(_cut(collections, reader, workers, how, lost))
    archive = source.stream
    documents = of_backup(archive, reader, chosen.collections)
    held, differing = look_at(connection, collections, how, documents)
    if how.oplog_replay:
        with connect(connection) as client, translated(connection):
            check_rights(client, connection)
    return RestorePlan(
        connection,
        backup,
        chosen.collections,
        chosen.authorization,
        tuple(cut),
        archive,
        reader,
        how,
        held,
        tuple(lost),
        (*notes, *chosen.notes, *differing),
        how.oplog_replay and (how.oplog_file is not None or not found),
        partial(_name_of, backup, filters, chosen.collections, {one.namespace for one in found}),
    )


def _with_oplog(backup: Backup, how: LoadOptions) -> Backup:
    """Return the backup with the oplog that the user names.

    Raises:
        BackupNotFoundError: there is no such file.
        UsageError: the two do not fit.
    """
    if how.oplog_file is None:
        return backup
    if backup.oplog is not None:
        raise UsageError(f"{backup.path} holds an oplog itself: leave out --oplog-file")
    if not backup.databases:
        raise UsageError(
            f"{backup.path} does not say of which database it is, so no oplog fits to it"
        )
    return replace(backup, oplog=oplog_of(how.oplog_file))


def _about_oplog(
    backup: Backup, found: Sequence[StoredCollection], filters: Filters, how: LoadOptions
) -> list[str]:
    """What the user should know of the oplog that the backup holds.

    Raises:
        UsageError: it holds none, and one is to be replayed; or nothing else, and that cannot be.
    """
    if not found and backup.oplog is not None:
        if not how.oplog_replay:
            raise UsageError(
                f"{backup.path} holds nothing but an oplog: --oplog-replay applies it to what "
                "the target holds"
            )
        if filters.database is not None:
            raise UsageError(
                f"{backup.path} holds the oplog of all databases: name no target database; "
                "--ns-include chooses what is replayed, --ns-from and --ns-to rename it"
            )
    if how.oplog_replay and backup.oplog is None:
        raise UsageError(
            f"{backup.path} holds no oplog to replay: backup --consistency oplog keeps one, and "
            "--oplog-file names one"
        )
    if backup.oplog is None or how.oplog_replay:
        return []
    return [
        f"{backup.path} holds the oplog of what happened while it was made; without "
        "--oplog-replay its documents are of different moments"
    ]


def _name_of(
    backup: Backup,
    filters: Filters,
    chosen: Mapping[Namespace, StoredCollection],
    known: Some[Namespace],
    namespace: Namespace,
) -> Namespace | None:
    """What is called so in the oplog of a backup is called so on the target."""
    if namespace in known:
        found = chosen.get(namespace)
        # The oplog is none of the operations on what another backup wrote.
        return None if found is None or found.origin.is_of_another else found.namespace
    return target_of(backup, namespace, filters)


def _cut(
    collections: Sequence[StoredCollection],
    reader: Reader,
    workers: int,
    how: LoadOptions,
    lost: list[str],
) -> Iterator[Segment]:
    for collection in sorted(collections, key=_index_work, reverse=True):
        whole = keeps_order(collection, how)
        salvaged = lost if how.salvage else None
        yield from reader.segments(collection, workers, whole=whole, lost=salvaged)


def _index_work(collection: StoredCollection) -> tuple[int, int]:
    """What comes first: indexes that take long are built while other documents are loaded.

    The server builds a collection's indexes with one thread, so that at the end, with nothing
    left to load, all other cores wait for it.
    """
    return (collection.contents.documents or 0) * len(collection.indexes), collection.file_bytes


def _legacy_indexes(collections: Iterable[StoredCollection]) -> list[str]:
    """Which indexes are not built as they are described.

    Raises:
        FormatError: one of them is no index.
    """
    notes = []
    for collection in collections:
        for index in filter(indexes.is_readable, collection.indexes):
            described = indexes.described(index)
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
    with OplogSpool() as spool:
        operations = None
        if plan.how.oplog_replay:
            is_file = plan.archive is None or plan.how.oplog_file is not None
            batches = partial(_oplog, plan) if is_file else spool.batches
            operations = Operations(batches, plan.name_of, plan.how.oplog_limit, plan.is_of_another)
        target = Target(plan.connection, plan.how, plan.authorization, operations)
        run = _loading(plan, target, reporter, spool)
        run.failures += plan.lost
        documents = sum(segment.documents or 0 for segment in plan.segments)
        run.run(
            "restore",
            documents,
            plan.raw_bytes,
            workers,
            RestoreWorker(target, workers, plan.reader),
        )
    backup = plan.backup
    if plan.is_of_another and run.replayed_to is not None:
        run.notes.append(
            f"the oplog was replayed up to {run.replayed_to.moment.astimezone():%Y-%m-%d %H:%M:%S}"
            f" ({run.replayed_to})"
        )
    return run.report(
        partial(
            RestoreReport,
            name=backup.name,
            path=backup.path,
            notes=(*plan.notes, *run.notes),
            consistency=_consistency(plan, run.replayed_to),
        )
    )


def _loading(
    plan: RestorePlan, target: Target, reporter: Reporter, spool: OplogSpool
) -> Loading[Segment]:
    if plan.archive is None:
        return Loading(target, list(plan.collections.values()), plan.segments, reporter)
    blocks = plan.archive.blocks(plan.backup)
    keep = spool.keep if target.operations is not None else lambda _batch: None
    return StreamLoading(target, plan.collections, blocks, reporter, keep)


def _oplog(plan: RestorePlan) -> Iterator[Batch]:
    oplog = plan.backup.oplog
    assert oplog is not None  # noqa: S101 - the plan was made for it
    reader = _oplog_reader(plan.reader, plan.how)
    for segment in reader.segments(oplog, whole=True):
        yield from reader.batches(segment.place)


def _oplog_reader(reader: Reader, how: LoadOptions) -> Reader:
    """Return what reads the oplog, which may be a file that is no part of the backup."""
    return reader if how.oplog_file is None else FileReader()


def _consistency(plan: RestorePlan, replayed_to: ClusterTime | None) -> Consistency | None:
    """Of which moment is what was restored."""
    found, limit = plan.backup.consistency, plan.how.oplog_limit
    if plan.is_of_another:
        return None  # nobody knows whether the oplog fits to the documents
    if plan.backup.oplog is not None:
        # Nobody knows which of the documents are of later than the limit.
        if not plan.how.oplog_replay or limit is not None:
            found = Consistency("none")
        elif found is None and replayed_to is not None:
            found = Consistency("oplog", replayed_to.moment, replayed_to)
    others = [str(name) for name, one in plan.collections.items() if one.origin.is_of_another]
    if found is None or found.moment is None or not others:
        return found
    return replace(found, exceptions=(*found.exceptions, *others))


def _told(lost: Sequence[str]) -> str | None:
    """What a report says of damage."""
    if not lost:
        return None
    more = f"; and {len(lost) - _TOLD} more" if len(lost) > _TOLD else ""
    return "; ".join(lost[:_TOLD]) + more


class RestoreWorker(LoadWorker[Segment]):
    """Loads segments.

    Args:
        target: where documents go.
        senders: how many batches of one segment may be on their way at once.
        reader: what reads the backup.
    """

    def __init__(self, target: Target, senders: int, reader: Reader) -> None:
        super().__init__(target, senders)
        self._reader = reader

    def load(self, piece: Segment) -> Loaded:
        """Load the documents of a segment.

        A file of BSON that cannot be cut is read here alone, and sent by several threads.
        """
        began = time.monotonic()
        if piece.place.encoding is Encoding.JSON:
            return self._load_lines(piece, began)
        senders = self._senders if piece.place.is_foreign and not piece.ordered else 1
        loaders = self.loaders(piece.target, senders, is_of_collection=piece.is_of_collection)
        lost: list[str] = []
        self.send_all(loaders, self._reader.batches(piece.place, lost))
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
                    loader.tally.reject(
                        f"at line {line.number} of {segment.place.path}", line.reason
                    )
        except FormatError as error:
            # Every segment of the file comes to the same end.
            if not segment.number:
                damage = f"{segment.place.path}: {error}; what came before that was restored"
        return replace(summed(loaders, time.monotonic() - began), damage=damage)
