"""The session without consistency, which reads each document at a different moment.

The other kinds of consistency are subclasses of it.
"""

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
from fastdump.mongo.round_trip import ask_each, requests_under_way
from fastdump.mongo.stable_bounds import StableBoundFinder
from fastdump.progress import Reporter

__all__ = ["ReadContext", "Session"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadContext:
    """The values that all sessions need: the server, the selection, and the readers."""

    client: Client
    """Connection to the first of the readers."""
    readers: Sequence[Connection]
    """The server, or the members of a replica set that share the reading."""
    selection: Selection
    """Part of the server that is read."""
    workers: int
    """Number of processes that share the work."""
    reporter: Reporter
    """Receiver of notes that the user should see at once."""
    known: Mapping[Namespace, Bounds] | None = None
    """Places where an earlier backup cut collections, to cut there again; None to cut anywhere."""


class Session(AbstractContextManager["Session"]):
    """One reading of a server by several processes, with one kind of consistency.

    This class has none: a write during the reading may or may not be seen.

    Args:
        context: the server, the selection, and the readers.
    """

    mode = "none"
    can_resume = True
    """True if a later run can continue an unfinished one."""
    keeps_oplog = False
    """True if the operations during the reading must be stored beside the documents."""

    def __init__(self, context: ReadContext) -> None:
        self.client = context.client
        self.readers = context.readers
        self.selection = context.selection
        self.workers = context.workers
        self.reporter = context.reporter
        self._known = context.known
        self.at: ClusterTime | None = None
        """Cluster time from which on the server's history is needed."""
        self.clock: bytes | None = None
        """Cluster time that every client must send to the server before it reads at `at`."""
        self.at_once = 1
        """Number of chunks that each worker should fetch at a time: several if the server is far
        away."""
        self.expected = 0
        """Estimated size of the documents to read, in bytes of BSON."""
        self._writes: dict[Namespace, int] = {}
        """Number of writes to each collection with several chunks, counted when it was planned."""
        self.notes: list[str] = []
        """Sentences for the report at the end."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Undo every change that the session made to the server."""

    def plan(self) -> tuple[Catalog, list[Chunk]]:
        """Return the catalog, and the chunks in which to read it.

        Raises:
            ServerError: the server cannot be reached or refuses.
            SnapshotUnavailableError: the server does not offer a snapshot.
            UsageError: there is no such database.
        """
        with translated(self.readers[0]):
            catalog = read_catalog(self.client, self.readers[0], self.selection, _prepare)
            _prepare(len(catalog.collections), catalog.raw_bytes)
            ask = retrying(self.readers[0])
            records = len(self.readers) == 1 and ask(has_own_records, self.client)
            finder = (
                BoundFinder(self.client, records=records)
                if self._known is None
                else StableBoundFinder(self.client, records=records, known=self._known)
            )

            def find(wanted: Sequence[tuple[Collection, int]]) -> list[Bounds]:
                def one(found: tuple[Collection, int]) -> Bounds:
                    return retrying(self.readers[0])(finder.find, *found)

                return ask_each(self.client, one, wanted)

            self.at_once = requests_under_way(self.client)
            # How many share the work must not decide where the next backup cuts.
            sharing = self.workers * self.at_once if self._known is None else 1
            chunks = planner.plan(catalog, sharing, find)
            cut = {one.namespace for one in chunks if one.chunks > 1}
            names = [one.data for one in catalog.collections if one.namespace in cut]
            self._writes = retrying(self.readers[0])(count_writes, self.client, names)
        self.expected = catalog.raw_bytes
        return catalog, chunks

    def is_settled(self, collection: Collection) -> bool:  # noqa: ARG002 - nothing is, here
        """Return True if the number of documents read must be exactly that of `count_all`."""
        return False

    def is_unwritten(self, collection: Collection) -> bool:
        """Return True if certainly nobody has written to a collection since it was planned.

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
        """Return the server's own present count of the documents of a collection.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.readers[0]):
            return retrying(self.readers[0])(schema.count, self.client, collection.data)

    def count_all(self, collection: Collection) -> int | None:
        """Count the documents of a collection one by one; None if the server cannot do that.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        return self._count_at(collection, None)

    def _count_at(self, collection: Collection, at: ClusterTime | None) -> int | None:
        with translated(self.readers[0]):
            ask = retrying(self.readers[0])
            return ask(count_all, self.client, collection.data, at, collection.uuid)

    def resumes(self, at: ClusterTime | None, catalog: Catalog) -> bool:
        """Return True if this session can continue the plan of an earlier run.

        Args:
            at: the cluster time of the earlier run.
            catalog: the collections that it planned to read.

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
        """Follow the oplog inside the context, if this kind of session keeps it.

        Args:
            keep: called with batches of entries, in order, in a separate thread.
        """
        return nullcontext()

    def end(self) -> None:
        """Follow the oplog until it includes every write that a read document can reflect.

        Raises:
            ServerError: the oplog cannot be followed so far.
        """

    def check(self, documents: int, raw_bytes: int) -> None:
        """Check that the session can still be finished; called about ten times a second.

        Args:
            documents: the number of documents read so far.
            raw_bytes: their size in bytes.

        Raises:
            ServerError: the session cannot be finished; the message says why.
        """

    def finish(self, catalog: Catalog, gone: Some[Namespace]) -> tuple[Catalog, Consistency]:  # noqa: ARG002 - nothing is, here
        """End the session after every chunk was read.

        Args:
            catalog: the collections that were to be read.
            gone: those of them that no longer existed.

        Returns:
            The collections that were read, and their consistency.

        Raises:
            ServerError: the documents are not as consistent as was promised.
        """
        went, made = self.changes(catalog)
        self.notes += [
            f"{name} was {what} while the server was read, so only a part of it may be included"
            for name, what in went.items()
        ]
        self.notes += [
            f"{name} was created while the server was read, and is left out" for name in made
        ]
        return catalog, Consistency(self.mode)

    def of_each(self, ask: Callable[[Client], T]) -> list[T]:
        """Ask each of the readers, and return their answers in order."""
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
        """Compare the server's collections with the planned ones.

        Returns:
            The planned collections that are gone, each with what happened to it ("dropped",
            "renamed to …"), and the collections that are new.
        """
        with translated(self.readers[0]):
            new = retrying(self.readers[0])(read_names, self.client, self.selection)
        # Users and roles are read although no list shows them, and nobody creates or drops them.
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
                went[name] = "dropped and created again" if name in new else "dropped"
        made = [name for name, uuid in new.items() if name not in old and uuid not in old.values()]
        return went, made


def _prepare(collections: int, raw_bytes: int = 0) -> None:
    """Prepare the start of processes while the plan is still being made, if they will be needed."""
    if planner.use_processes(raw_bytes, collections):
        with suppress(OSError):  # `processes` reports it later
            warm_up()
