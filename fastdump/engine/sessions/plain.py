"""Reading a server whenever it comes to each document; other kinds of consistency build on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as Some
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.executors.forkserver import warm_up
from fastdump.model import (
    OPLOG,
    Bounds,
    Catalog,
    Chunk,
    ClusterTime,
    Collection,
    Connection,
    Consistency,
    Namespace,
    Selection,
)
from fastdump.mongo import schema
from fastdump.mongo.bounds import BoundFinder
from fastdump.mongo.catalog import is_servers_own, read_catalog, read_names
from fastdump.mongo.client import Client, connect, has_own_records, translated
from fastdump.mongo.counts import count_all, count_writes
from fastdump.mongo.retry import retrying
from fastdump.mongo.stable_bounds import StableBoundFinder
from fastdump.progress import Reporter

__all__ = ["ReadContext", "Session"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadContext:
    """A server, the part of it that is read, and who reads it."""

    client: Client
    """A connection to the first of the readers."""
    readers: Sequence[Connection]
    """The server, or the members of a replica set that share the reading."""
    selection: Selection
    """The part that is read."""
    workers: int
    """How many processes share the work."""
    reporter: Reporter
    """Is told at once what the user should know."""
    known: Mapping[Namespace, Bounds] | None = None
    """Where an earlier backup cut collections, to cut them there again; None to cut anywhere."""


class Session(AbstractContextManager["Session"]):
    """What is read of a server, by several processes, and what their documents have in common.

    Here nothing: a write that happens meanwhile may or may not be seen.

    Args:
        context: the server, the part of it that is read, and who reads it.
    """

    mode = "none"
    can_resume = True
    """Whether another run can go on where this one ends."""
    keeps_oplog = False
    """Whether the operations that happen meanwhile must be kept beside the documents."""

    def __init__(self, context: ReadContext) -> None:
        self.client = context.client
        self.readers = context.readers
        self.selection = context.selection
        self.workers = context.workers
        self.reporter = context.reporter
        self._known = context.known
        self.at: ClusterTime | None = None
        """From when on the server's history is needed."""
        self.clock: bytes | None = None
        """What every client must tell the server before it reads at that time."""
        self.expected = 0
        """About how many bytes of documents are to be read."""
        self._writes: dict[Namespace, int] = {}
        """How often somebody had written to what is cut, when it was planned."""
        self.notes: list[str] = []
        """What the user should know when it has ended."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the server as it was."""

    def plan(self) -> tuple[Catalog, list[Chunk]]:
        """What there is, and in which chunks to read it.

        Raises:
            ServerError: the server cannot be reached or refuses.
            SnapshotUnavailableError: it cannot be read as it was at one moment.
            UsageError: there is no such database.
        """
        with translated(self.readers[0]):
            catalog = read_catalog(self.client, self.readers[0], self.selection)
            if planner.use_processes(catalog.raw_bytes):
                with suppress(OSError):  # it is said later
                    warm_up()
            ask = retrying(self.readers[0])
            records = len(self.readers) == 1 and ask(has_own_records, self.client)
            finder = (
                BoundFinder(self.client, records=records)
                if self._known is None
                else StableBoundFinder(self.client, records=records, known=self._known)
            )

            def find(collection: Collection, pieces: int) -> Bounds:
                return retrying(self.readers[0])(finder.find, collection, pieces)

            # How many share the work must not decide where the next backup cuts.
            workers = self.workers if self._known is None else 1
            chunks = planner.plan(catalog, workers, find)
            cut = {one.namespace for one in chunks if one.chunks > 1}
            names = [one.data for one in catalog.collections if one.namespace in cut]
            self._writes = retrying(self.readers[0])(count_writes, self.client, names)
        self.expected = catalog.raw_bytes
        return catalog, chunks

    def is_settled(self, collection: Collection) -> bool:  # noqa: ARG002 - nothing is, here
        """Return whether exactly so many documents must have been read as `count_all` counts."""
        return False

    def is_unwritten(self, collection: Collection) -> bool:
        """Return whether it is known that nobody wrote to a collection since it was planned.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        name = collection.data
        if len(self.readers) > 1 or name not in self._writes:
            return False
        with translated(self.readers[0]):
            now = retrying(self.readers[0])(count_writes, self.client, [name])
        return now.get(name) == self._writes[name]

    def count(self, collection: Collection) -> int:
        """Return how many documents the server says that a collection has now.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.readers[0]):
            return retrying(self.readers[0])(schema.count, self.client, collection.data)

    def count_all(self, collection: Collection) -> int | None:
        """Count the documents of a collection one by one; None where the server cannot.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        return self._count_at(collection, None)

    def _count_at(self, collection: Collection, at: ClusterTime | None) -> int | None:
        with translated(self.readers[0]):
            ask = retrying(self.readers[0])
            return ask(count_all, self.client, collection.data, at, collection.uuid)

    def resumes(self, at: ClusterTime | None, catalog: Catalog) -> bool:
        """Whether what another run planned can be read on: those collections, from then on.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        self.at = at
        with translated(self.readers[0]):
            there = retrying(self.readers[0])(read_names, self.client, self.selection)
        listed = [
            one for one in catalog.collections if one.namespace != OPLOG and "$" not in one.name
        ]
        return all((one.namespace, one.uuid) in there.items() for one in listed)

    def keeping(self, keep: Callable[[Batch], None]) -> AbstractContextManager[None]:  # noqa: ARG002 - there is none, here
        """Keep the oplog within, where it is kept at all.

        Args:
            keep: called with some entries, in their order, in a thread of its own.
        """
        return nullcontext()

    def end(self) -> None:
        """Keep the oplog until all that was read is in it, and no longer.

        Raises:
            ServerError: it cannot be.
        """

    def check(self, documents: int, raw_bytes: int) -> None:
        """Look, now and then, whether it can still come to a good end.

        Args:
            documents: how many are read so far.
            raw_bytes: their size.

        Raises:
            ServerError: it cannot, and the message says why.
        """

    def finish(self, catalog: Catalog, gone: Some[Namespace]) -> tuple[Catalog, Consistency]:  # noqa: ARG002 - nothing is, here
        """End it, when every chunk was read.

        Args:
            catalog: what was to be read.
            gone: what of it was no longer there.

        Returns:
            What was read, and how consistent it is.

        Raises:
            ServerError: it is not what was promised.
        """
        went, made = self.changes(catalog)
        self.notes += [
            f"{name} was {what} during the backup, which may hold only a part of it"
            for name, what in went.items()
        ]
        self.notes += [f"{name} was made during the backup and is not in it" for name in made]
        return catalog, Consistency(self.mode)

    def of_each(self, ask: Callable[[Client], T]) -> list[T]:
        """What each of the readers says."""
        found = []
        for connection in self.readers:
            is_first = connection is self.readers[0]
            with (
                nullcontext(self.client) if is_first else connect(connection) as client,
                translated(connection),
            ):
                found.append(retrying(connection)(ask, client))
        return found

    def changes(self, catalog: Catalog) -> tuple[dict[Namespace, str], list[Namespace]]:
        """Which collections went since they were planned, each with how, and which came."""
        with translated(self.readers[0]):
            new = retrying(self.readers[0])(read_names, self.client, self.selection)
        # Users and roles are read whatever is listed, and are nobody's to make or drop.
        old = {
            one.namespace: one.uuid
            for one in catalog.collections
            if "$" not in one.name and not is_servers_own(one.name)
        }
        names = {uuid: name for name, uuid in new.items() if uuid is not None}
        went = {}
        for name, uuid in old.items():
            if name in new and new[name] == uuid:
                continue
            if uuid in names:
                went[name] = f"renamed to {names[uuid]}"
            else:
                went[name] = "dropped and made again" if name in new else "dropped"
        made = [name for name, uuid in new.items() if name not in old and uuid not in old.values()]
        return went, made
