"""The plan of a restore: the files of a backup are cut into segments, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Some
from dataclasses import dataclass, replace
from functools import partial

from fastdump.codec.definitions import check
from fastdump.engine.load.inspection import inspect_target, keeps_order
from fastdump.engine.load.time_series import of_backup
from fastdump.engine.restore.filters import Filters, choose, target_of
from fastdump.errors import BackupDamagedError, UsageError
from fastdump.layouts.interface import Reader, Source, Stream
from fastdump.layouts.mongodump import oplog_of
from fastdump.layouts.segments import FileReader, damaged
from fastdump.model import (
    Backup,
    CollectionKind,
    Connection,
    LoadOptions,
    Namespace,
    Segment,
    StoredCollection,
)
from fastdump.mongo import indexes
from fastdump.mongo.authorization import Authorization
from fastdump.mongo.client import connect, translated
from fastdump.mongo.replay import check_rights

__all__ = ["RestorePlan", "plan_restore"]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The plan of a restore, made before anything is written."""

    connection: Connection
    backup: Backup
    collections: dict[Namespace, StoredCollection]
    """The collections to restore, called as on the target, by their names in the backup."""
    authorization: Authorization | None
    segments: tuple[Segment, ...]
    """The parts of files to load, those of large collections first; none for an archive, which is
    read as it comes."""
    archive: Stream | None
    reader: Reader
    """Reads the segments."""
    how: LoadOptions
    held: int
    """An estimate of how many documents the target already has in these collections."""
    lost: tuple[str, ...]
    """Files that are damaged and left out, each with the damage."""
    notes: tuple[str, ...]
    is_of_another: bool
    """True if the oplog to replay is not the backup's own."""
    name_of: Callable[[Namespace], Namespace | None]
    """Returns the name on the target of a collection of the oplog; None for an unwanted one."""

    @property
    def databases(self) -> list[str]:
        """The databases that are written."""
        return sorted({found.namespace.database for found in self.collections.values()})

    @property
    def raw_bytes(self) -> int:
        """Size of the documents to load, an estimate for files that do not say it."""
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
    """Find the backup and inspect its files and the target, without writing anything.

    Args:
        connection: the server to write to.
        source: where the backup is.
        name: the name or path of the backup; None is the most recent.
        workers: how many processes will share the work.
        how: how documents are loaded.
        filters: which collections are wanted, and their names on the target.

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
    oplog_reader = reader if how.oplog_file is None else FileReader()
    if problems := [
        *source.damaged_definitions(backup),
        *reader.missing(collections),
        *oplog_reader.missing(replayed),
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
    held, differing = inspect_target(connection, collections, how, documents)
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
        (*notes, *chosen.notes, *differing, *_about_repeated_ids(backup, collections, held, how)),
        how.oplog_replay and (how.oplog_file is not None or not found),
        partial(_name_of, backup, filters, chosen.collections, {one.namespace for one in found}),
    )


def _about_repeated_ids(
    backup: Backup, collections: Iterable[StoredCollection], held: int, how: LoadOptions
) -> Iterator[str]:
    """Yield a note if a document could replace another of the same backup without a word.

    In an empty collection the server refuses the second one. Elsewhere it is found only if both are
    in one batch.
    """
    data = (one for one in collections if one.kind is not CollectionKind.VIEW)
    if held and not how.drop and not all(one.is_of_collection for one in data):
        yield (
            f"if an _id is in {backup.path} twice, the later document replaces the other, since "
            f"the target has documents already; 'fastdump verify --unique {backup.path}' finds that"
        )


def _with_oplog(backup: Backup, how: LoadOptions) -> Backup:
    """Return the backup together with the oplog of `--oplog-file`, if that was given.

    Raises:
        BackupNotFoundError: there is no such file.
        UsageError: the backup holds an oplog itself, or does not say what it is of.
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
    """Return notes about the oplog of the backup.

    Raises:
        UsageError: an oplog is to be replayed and there is none, or the backup holds nothing but
            an oplog and the options do not fit to that.
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
    """Return the name on the target of a collection that the backup's oplog names."""
    if namespace in known:
        found = chosen.get(namespace)
        # The oplog does not belong to the documents that another backup wrote.
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
    """Return how much work the indexes of a collection are; most work is loaded first.

    The server builds the indexes of a collection with one thread. Large ones are built while the
    documents of other collections are loaded; at the end, all other cores would wait for them.
    """
    return (collection.contents.documents or 0) * len(collection.indexes), collection.file_bytes


def _legacy_indexes(collections: Iterable[StoredCollection]) -> list[str]:
    """Return notes about the indexes that cannot be built as they are described.

    Raises:
        FormatError: the description of an index is not valid.
    """
    notes = []
    for collection in collections:
        for index in filter(indexes.is_readable, collection.indexes):
            described = indexes.described(index)
            changed = indexes.converted(described)[1]
            notes += [f"{collection.name}: index {described['name']}: {one}" for one in changed]
    return notes
