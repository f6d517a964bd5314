"""Which kind of consistency a server offers, and reading it so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from fastdump.engine.lock import LockedReading, release_stale
from fastdump.engine.oplog import OplogReading
from fastdump.engine.reading import Reading
from fastdump.engine.snapshot import SnapshotReading
from fastdump.errors import SnapshotUnavailableError, UsageError
from fastdump.model import Connection, ReadOptions, Selection
from fastdump.mongo.client import Client, connect, open_database, translated
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
    work: Callable[[Reading], T],
    repeats: bool,
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

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: it does not offer what is wanted.
    """
    with connect(readers[0]) as client:
        _prepare(client, readers, selection, reporter)
        arguments = (client, readers, selection, workers, reporter)
        try:
            with _chosen(how, *arguments) as reading:
                return work(reading)
        except SnapshotUnavailableError as error:
            if how.consistency != "auto" or not repeats:
                raise
            plain = _without(str(error), *arguments)
        with plain:
            return work(plain)


def _prepare(
    client: Client, readers: Sequence[Connection], selection: Selection, reporter: Reporter
) -> None:
    if selection.database is not None:
        open_database(client, selection.database)  # a name that none can have needs no server
    release_stale(client, readers[0], reporter)
    for connection in readers[1:]:
        with connect(connection) as other:
            release_stale(other, connection, reporter)


def _chosen(
    how: ReadOptions,
    client: Client,
    readers: Sequence[Connection],
    selection: Selection,
    workers: int,
    reporter: Reporter,
) -> Reading:
    arguments = (client, readers, selection, workers, reporter)
    if how.consistency in ("auto", "snapshot"):
        with translated(readers[0]):
            reason = retrying(readers[0])(why_unavailable, client, selection.database)
        if reason is None:
            return SnapshotReading(*arguments, how)
        if how.consistency == "snapshot":
            raise UsageError(f"{readers[0].shown} cannot be read as it was at one moment: {reason}")
        return _without(reason, *arguments)
    if how.consistency == "oplog":
        return OplogReading(*arguments)
    if how.consistency == "lock":
        return LockedReading(*arguments, how)
    return Reading(*arguments)


def _without(
    reason: str,
    client: Client,
    readers: Sequence[Connection],
    selection: Selection,
    workers: int,
    reporter: Reporter,
) -> Reading:
    """Return a reading of different moments that says why it is not of one."""
    reading = Reading(client, readers, selection, workers, reporter)
    reading.notes.append(
        "this is not of one moment: writes that happened meanwhile may or may not be in it "
        f"({reason})"
    )
    return reading
