"""Which kind of consistency a server offers, and reading it so."""

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
    """Have something done with all that is read; where `auto` cannot keep its word, once more.

    Args:
        how: which consistency is wanted.
        readers: the server, or the members of a replica set that share the reading.
        selection: what is read.
        workers: how many processes share the work.
        reporter: hears what the user should know at once.
        work: makes the plan, and reads.
        repeats: whether it can be done again from the beginning.
        known: where an earlier backup cut collections, to cut them there again; None to cut
            anywhere.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: it does not offer what is wanted.
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
            raise UsageError(f"{first.shown} cannot be read as it was at one moment: {reason}")
        return _without(reason, context)
    if how.consistency == "oplog":
        return OplogSession(context)
    if how.consistency == "lock":
        return LockSession(context, how)
    return Session(context)


def _without(reason: str, context: ReadContext) -> Session:
    """Return a reading of different moments that says why it is not of one."""
    session = Session(context)
    session.notes.append(
        "this is not of one moment: writes that happened meanwhile may or may not be in it "
        f"({reason})"
    )
    return session
