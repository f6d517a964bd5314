"""The command backup: read a server, write a backup, remove old ones."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack

from fastdump.engine.backup.packing import describe_losses
from fastdump.engine.backup.view_ids import describe_view_ids
from fastdump.engine.backup.writing import Writing, Written
from fastdump.engine.prune import prune
from fastdump.engine.sessions.modes import read_consistently
from fastdump.engine.sessions.oplog import OPLOG_COLLECTION
from fastdump.errors import IncompleteError, StorageError
from fastdump.layouts.interface import Destination
from fastdump.model import (
    OPLOG,
    Connection,
    Encoding,
    Losses,
    Namespace,
    Part,
    ReadOptions,
    Retention,
    Selection,
)
from fastdump.mongo.client import connect, open_database
from fastdump.mongo.members import members
from fastdump.progress import Reporter
from fastdump.report import BackupReport, PruneReport

__all__ = ["backup"]


def backup(
    connection: Connection,
    selection: Selection,
    destination: Destination,
    *,
    how: ReadOptions,
    workers: int,
    retention: Retention,
    resume: bool = False,
    reporter: Reporter,
) -> BackupReport:
    """Back up one database or all of them, then remove surplus old backups.

    Args:
        connection: the server to read from.
        selection: the databases, collections and documents to read.
        destination: the place of the backup.
        how: the consistency, and the limits on reading.
        workers: the number of worker processes.
        retention: the rules by which old backups stay.
        resume: continue a backup that an earlier run began, and let a later run continue this one.
        reporter: receives progress and notes.

    Raises:
        IncompleteError: a worker died, documents are missing or doubled, or the backup is complete
            but old ones could not be removed.
        ServerError: the server cannot be reached or refuses.
        StorageError: the disk refuses.
        UsageError: there is no such database, or the options contradict each other.
    """
    clock = time.monotonic()
    if selection.database is not None:
        with connect(connection) as client:
            open_database(client, selection.database)  # refuse an invalid name before connecting
    readers = members(connection)
    with ExitStack() as held:
        writing = Writing(destination, workers, how, resume, reporter, held)
        written = read_consistently(
            how,
            readers,
            selection,
            workers,
            reporter,
            work=writing.run,
            repeats=destination.can_repeat,
            known=destination.known_bounds(),
        )
        # Prune while the folder is still locked, so that no other backup is written meanwhile.
        pruned = _prune(destination, retention, written.writer.name)
    catalog, writer = written.catalog, written.writer
    return BackupReport(
        name=writer.name,
        path=writer.path,
        databases=tuple(sorted({found.database for found in catalog.collections} - {""})),
        server=catalog.server,
        consistency=written.consistency,
        workers=written.workers,
        seconds=time.monotonic() - clock,
        collections=tuple(
            writer.report(found.namespace)
            for found in catalog.collections
            if found.namespace != OPLOG
        ),
        oplog=writer.report(OPLOG) if OPLOG_COLLECTION in catalog.collections else None,
        new_bytes=_new_bytes(written),
        interruptions=sum(part.interruptions for _name, part in _parts(written)),
        pruned=pruned.removed,
        notes=(*_notes(written, destination), *pruned.notes),
    )


def _parts(written: Written) -> Iterator[tuple[Namespace, Part]]:
    """Yield the parts of all collections, including those that an earlier run wrote."""
    for found in written.catalog.collections:
        yield from ((found.namespace, part) for part in written.writer.parts(found.namespace))


def _new_bytes(written: Written) -> int | None:
    """Return how much a repository did not have yet; None elsewhere."""
    if written.writer.encoding is not Encoding.PIECES:
        return None
    pieces = (piece for _name, part in _parts(written) for piece in part.pieces)
    return sum(piece.file_bytes for piece in pieces if piece.is_new)


def _notes(written: Written, destination: Destination) -> Iterator[str]:
    yield from written.catalog.notes
    yield from written.notes
    if written.writer.encoding is Encoding.JSON:
        losses: defaultdict[Namespace, list[Losses]] = defaultdict(list)
        for name, part in _parts(written):
            losses[name] += [] if part.losses is None else [part.losses]
        yield from describe_losses(written.catalog, losses)
    yield from describe_view_ids(_parts(written))
    if destination.layout is not None:
        for _begun, path in destination.layout.stale():
            yield f"{path}: left behind by a backup that was killed; it may be deleted"


def _prune(destination: Destination, retention: Retention, name: str) -> PruneReport:
    if destination.layout is None:
        return PruneReport((), (), {}, tuple(destination.notes))
    try:
        return prune(destination.layout, retention, newest=name)
    except StorageError as error:
        raise IncompleteError(
            f"the backup {name} is complete, but old ones could not be removed: {error}"
        ) from error
