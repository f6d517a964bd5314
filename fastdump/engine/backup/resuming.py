"""Begin a backup: with a new plan, or with the plan of an earlier run that was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from blake3 import blake3

from fastdump.engine.sessions.oplog import OPLOG_COLLECTION
from fastdump.engine.sessions.plain import Session
from fastdump.errors import UsageError
from fastdump.layouts.interface import BackupWriter, Destination, Resumable, ResumableWriter
from fastdump.layouts.journal import Finished, Planned
from fastdump.model import Catalog, Chunk

__all__ = ["Begun", "begun", "resumed"]

Begun = tuple[BackupWriter, Planned, Sequence[Chunk]]
"""The writer of the backup, the plan, and the chunks that are still to be read."""

W = TypeVar("W", bound=BackupWriter)


def begun(session: Session, destination: Destination, workers: int, held: ExitStack) -> Begun:
    """Plan a new backup and start writing it.

    Args:
        session: the session that reads the server.
        destination: the place of the backup.
        workers: the number of processes that will write it.
        held: closes the writer, and with it the lock on the place, when the command ends.

    Raises:
        ServerError: the server cannot be reached or refuses.
        StorageError: the destination cannot be written.
        UsageError: there is no such database.
    """
    started, catalog, chunks = _planned(session)
    writer = destination.begin(_local(started), catalog, workers)
    held.callback(writer.close)
    return writer, Planned("", started, catalog, tuple(chunks), session.at), chunks


def resumed(session: Session, destination: Destination, workers: int, held: ExitStack) -> Begun:
    """Continue the newest unfinished backup that has the same settings, or start a new one.

    In both cases the backup keeps a journal, so that a later run can continue it. The arguments
    are those of `begun`.

    Raises:
        ServerError: the server cannot be reached or refuses.
        StorageError: the destination cannot be written.
        UsageError: the destination or the session cannot be resumed, or there is no such database.
    """
    layout = destination.resumable
    if layout is None:
        raise UsageError(
            "--resume continues dated backups only: leave out --out; and a repository needs no "
            "--resume, since a backup never writes again what another one has written"
        )
    if not session.can_resume:
        raise UsageError(f"--resume cannot be combined with --consistency {session.mode}")
    settings = _settings(session, layout)
    if found := layout.resume(settings):
        writer, planned, finished = found
        held.callback(writer.close)
        if left := _left(session, writer, planned, finished):
            return left
    started, catalog, chunks = _planned(session)
    new = layout.begin(_local(started), catalog, workers)
    held.callback(new.close)
    planned = Planned(settings, started, catalog, tuple(chunks), session.at)
    try:
        new.keep_journal(planned)
    except BaseException:
        new.abort()
        raise
    return new, planned, chunks


def _left(
    session: Session, writer: ResumableWriter, planned: Planned, finished: Sequence[Finished]
) -> Begun | None:
    """Take over the files of an earlier run; None if its remaining chunks cannot be read."""
    is_taken = False
    try:
        if session.resumes(planned.at, planned.catalog):
            done = writer.resume(planned, finished)
            writer.keep_journal(planned)
            is_taken = True
            left = [one for one in planned.chunks if one not in done]
            session.expected = sum(one.raw_bytes for one in left)
            return writer, planned, left
    finally:
        if not is_taken:
            writer.close()
    return None


def _planned(session: Session) -> tuple[datetime, Catalog, Sequence[Chunk]]:
    started = datetime.now(UTC)
    catalog, chunks = session.plan()
    if session.keeps_oplog:
        catalog = replace(catalog, collections=(*catalog.collections, OPLOG_COLLECTION))
    return started, catalog, chunks


def _local(moment: datetime) -> datetime:
    """Return a moment in local time, which is what backups are named after."""
    return moment.astimezone().replace(tzinfo=None)


def _settings(session: Session, layout: Resumable) -> str:
    """Return a digest of the settings: two runs with the same one would make the same backup."""
    told = f"{session.readers[0].shown} {session.selection} {session.mode} {layout.told}"
    return blake3(told.encode()).hexdigest()
