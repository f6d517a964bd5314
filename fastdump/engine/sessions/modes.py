"""Choose the session for the wanted consistency and the server, and run the work in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from fastdump.engine.sessions.lock import LockSession, release_stale
from fastdump.engine.sessions.oplog import OplogSession
from fastdump.engine.sessions.plain import ReadContext, Session
from fastdump.engine.sessions.snapshot import SnapshotSession
from fastdump.errors import SnapshotUnavailableError, UsageError
from fastdump.model import Bounds, Connection, Namespace, ReadOptions, Selection
from fastdump.mongo.client import connect, translated
from fastdump.mongo.retry import retrying
from fastdump.mongo.snapshot import why_unavailable
from fastdump.progress import Reporter

__all__ = ["read_consistently"]

T = TypeVar("T")


def read_consistently(
    how: ReadOptions,
    readers: Sequence[Connection],
    selection: Selection,
    workers: int,
    reporter: Reporter,
    *,
    work: Callable[[Session], T],
    repeats: bool,
    known: Mapping[Namespace, Bounds] | None = None,
) -> T:
    """Run work in a session of the wanted consistency.

    If `auto` loses its snapshot, the work runs again without one.

    Args:
        how: the wanted consistency and its limits.
        readers: the server, or the members of a replica set that share the reading.
        selection: the part of the server that is read.
        workers: the number of processes that share the work.
        reporter: receives notes that the user should see at once.
        work: a function that plans and reads.
        repeats: True if the work can run again from the beginning.
        known: the places where an earlier backup cut collections, to cut there again; None to cut
            anywhere.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: the server does not offer the wanted consistency.
    """
    with connect(readers[0]) as client:
        context = ReadContext(client, readers, selection, workers, reporter, known)
        _prepare(context)
        try:
            with _chosen(how, context) as session:
                return work(session)
        except SnapshotUnavailableError as error:
            if how.consistency != "auto" or not repeats:
                raise
            plain = _without(str(error), context)
        with plain:
            return work(plain)


def _prepare(context: ReadContext) -> None:
    first, *others = context.readers
    release_stale(context.client, first, context.reporter)
    for connection in others:
        with connect(connection) as client:
            release_stale(client, connection, context.reporter)


def _chosen(how: ReadOptions, context: ReadContext) -> Session:
    if how.consistency in ("auto", "snapshot"):
        first = context.readers[0]
        with translated(first):
            database = context.selection.database
            reason = retrying(first)(why_unavailable, context.client, database)
        if reason is None:
            return SnapshotSession(context, how)
        if how.consistency == "snapshot":
            raise UsageError(f"--consistency snapshot is not possible with {first.shown}: {reason}")
        return _without(reason, context)
    if how.consistency == "oplog":
        return OplogSession(context)
    if how.consistency == "lock":
        return LockSession(context, how)
    return Session(context)


def _without(reason: str, context: ReadContext) -> Session:
    """Return a session without consistency, with a note that says why there is no snapshot."""
    session = Session(context)
    session.notes.append(
        "the documents are not of one moment: writes during the run may or may not be included "
        f"({reason})"
    )
    return session
