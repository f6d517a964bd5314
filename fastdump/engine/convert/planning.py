"""The plan of a conversion: which collections it takes, and in which parts they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fastdump.codec.definitions import check, has_true
from fastdump.engine.restore.filters import Filters, choose_under_own_names
from fastdump.errors import BackupDamagedError, UsageError
from fastdump.layouts.interface import Reader, Source, Stream
from fastdump.layouts.segments import damaged
from fastdump.model import (
    KEEPS_DATABASE,
    OPLOG,
    Backup,
    Catalog,
    Chunk,
    ChunkSource,
    Collection,
    CollectionKind,
    Namespace,
    Segment,
    ServerInfo,
    StoredCollection,
)

__all__ = ["ConvertPlan", "Piece", "chunk_of", "plan_convert"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some documents of a collection: where they are read, and what they become."""

    segment: Segment | None
    """None if the collection is empty."""
    chunk: Chunk

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of its documents."""
        return self.chunk.raw_bytes

    def __str__(self) -> str:
        return str(self.chunk)


@dataclass(frozen=True, slots=True)
class ConvertPlan:
    """The plan of a conversion, made before anything is written."""

    backup: Backup
    collections: Mapping[Namespace, StoredCollection]
    """The collections, called as in the new backup, by their names in the old one."""
    catalog: Catalog
    """The same, as if a server had described them."""
    pieces: tuple[Piece, ...]
    """Parts of files to convert; none for an archive, which is read as it comes."""
    reader: Reader
    archive: Stream | None
    notes: tuple[str, ...]


def plan_convert(
    source: Source, name: str | None, layout: str, *, workers: int, filters: Filters
) -> ConvertPlan:
    """Find the backup and look at its files, without writing anything.

    Args:
        source: where the backup is.
        name: the name or path of the backup; None is the most recent.
        layout: that of the new backup.
        workers: the number of processes that will share the work.
        filters: which collections are wanted, and their new names.

    Raises:
        BackupDamagedError: a file is missing or damaged.
        BackupNotFoundError: there is no such backup, or a pattern matches nothing of it.
        StorageError: a file cannot be read.
        UsageError: several collections would become one, or the layout cannot hold all of it.
    """
    backup = source.find(name)
    found, notes = source.contents(backup)
    chosen, about_chosen = choose_under_own_names(backup, found, filters)
    oplog, about_oplog = _oplog(backup, filters)
    taken = {**chosen, **oplog}
    reader = source.reader
    problems = [*source.damaged_definitions(backup), *reader.missing(list(taken.values()))]
    if problems:
        told = "; ".join(f"{one.path}: {one.message}" for one in problems)
        raise BackupDamagedError(f"{told}; restore --salvage brings back what is intact")
    with damaged(backup.path):
        for one in chosen.values():
            check(one)
    archive = source.stream
    catalog = _catalog(backup, list(taken.values()))
    _check_layout(backup, layout, catalog)
    pieces = () if archive is not None else _pieces(reader, list(taken.values()), workers)
    return ConvertPlan(
        backup,
        taken,
        catalog,
        tuple(pieces),
        reader,
        archive,
        (*notes, *about_chosen, *about_oplog, *_of_others(backup, chosen)),
    )


def _of_others(backup: Backup, chosen: Mapping[Namespace, StoredCollection]) -> Iterator[str]:
    """Yield notes about collections of which only a copy of another backup is left."""
    for one in chosen.values():
        if one.origin.is_of_another:
            yield (
                f"{backup.path}: of {one.name} only the latest copy is kept, and it is of another "
                "backup"
            )


def _oplog(
    backup: Backup, filters: Filters
) -> tuple[dict[Namespace, StoredCollection], Sequence[str]]:
    """Return the oplog of the backup, if it fits to the collections that are taken."""
    if backup.oplog is None:
        return {}, ()
    if filters.change_something:
        return {}, ("the oplog is left out, since collections are left out or renamed",)
    return {OPLOG: replace(backup.oplog, namespace=OPLOG)}, ()


def _catalog(backup: Backup, collections: Sequence[StoredCollection]) -> Catalog:
    databases = {one.namespace.database for one in collections} - {""}
    return Catalog(
        databases.pop() if len(databases) == 1 else None,
        ServerInfo("unknown", backup.server_version or "unknown", "unknown"),
        tuple(_described(one) for one in sorted(collections, key=lambda one: one.namespace)),
    )


def _described(stored: StoredCollection) -> Collection:
    return Collection(
        *stored.namespace,
        stored.kind,
        stored.options,
        stored.indexes,
        stored.contents.documents or 0,
        stored.contents.raw_bytes or 0,
        uuid=stored.uuid,
    )


def _check_layout(backup: Backup, layout: str, catalog: Catalog) -> None:
    """Check that a layout can hold all of the collections.

    Raises:
        UsageError: it cannot.
    """
    databases = sorted({one.database for one in catalog.collections} - {""})
    if len(databases) > 1 and layout not in KEEPS_DATABASE:
        raise UsageError(
            f"{backup.path} holds {len(databases)} databases, and the layout {layout} holds one: "
            "choose it with --ns-include, such as 'komodo.*', or use another --layout"
        )
    if layout == "komodo-json" and any(one.namespace == OPLOG for one in catalog.collections):
        raise UsageError(
            f"{backup.path} holds an oplog, which --layout komodo-json cannot: use --layout komodo"
        )


def _pieces(
    reader: Reader, collections: Sequence[StoredCollection], workers: int
) -> Iterator[Piece]:
    """Yield the pieces of all collections that have documents of their own, largest files first."""
    for one in sorted(collections, key=lambda one: one.file_bytes, reverse=True):
        if one.kind is CollectionKind.VIEW:
            continue
        whole = one.namespace == OPLOG or has_true(one.options, b"capped")
        cut: list[Segment | None] = [*reader.segments(one, workers, whole=whole)]
        for number, segment in enumerate(cut or [None]):
            yield Piece(segment, chunk_of(one, number, max(len(cut), 1), segment))


def chunk_of(
    stored: StoredCollection, number: int = 0, chunks: int = 1, segment: Segment | None = None
) -> Chunk:
    """Return the part of the new backup that some documents of a collection become."""
    raw_bytes = 0 if segment is None else segment.raw_bytes
    source = ChunkSource(stored.data)
    return Chunk(stored.namespace, source, number=number, chunks=chunks, raw_bytes=raw_bytes)
