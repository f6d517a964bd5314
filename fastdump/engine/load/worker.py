"""The worker's part of loading: pieces of collections, and their indexes.

Restore and copy share this. Their own workers say where the documents of a piece come from.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

from fastdump.codec.bson import Batch
from fastdump.engine.grouping import Group
from fastdump.engine.server_worker import ServerWorker
from fastdump.model import (
    BUCKETS,
    ClusterTime,
    Connection,
    Definition,
    Loaded,
    LoadOptions,
    Namespace,
)
from fastdump.mongo import indexes, schema
from fastdump.mongo.authorization import Authorization
from fastdump.mongo.client import Client, Document, translated
from fastdump.mongo.confirming import write_concern
from fastdump.mongo.load import Loader
from fastdump.mongo.retry import retrying
from fastdump.mongo.round_trip import requests_under_way
from fastdump.mongo.shard_key import shard_key
from fastdump.mongo.writes import keeps_empty

__all__ = ["IndexJob", "LoadWorker", "Operations", "Piece", "Target"]


class Piece(Hashable, Protocol):
    """Some documents of one collection, which one worker loads in one go."""

    @property
    def namespace(self) -> Namespace:
        """The collection's name on the target."""

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of its documents."""


P = TypeVar("P", bound=Piece)

_BYTES_FOR_A_SENDER = 1_000_000
"""Least size of a piece for each thread that sends its documents, in bytes of BSON."""

_BUILDERS = 2
"""Number of small collections of one job whose indexes are built at the same time."""


@dataclass(frozen=True, slots=True)
class Operations:
    """An oplog to replay when all documents are loaded."""

    batches: Callable[[], Iterator[Batch]]
    """Reads its entries; called when all documents are loaded."""
    name_of: Callable[[Namespace], Namespace | None]
    """Returns the name of a collection on the target; None for one that is not wanted."""
    limit: ClusterTime | None = None
    """The entry before which to end."""
    is_of_another: bool = False
    """True if the oplog is not the backup's own. Collections that it names may then be on the
    target without being in the backup."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server that documents are loaded into, and the way of loading them."""

    connection: Connection
    how: LoadOptions
    authorization: Authorization | None = None
    """The users and roles among the documents, if there are any."""
    operations: Operations | None = None
    """The oplog to replay, if there is one."""

    def concern(self, client: Client) -> Document:
        """Return the write concern.

        Raises:
            UsageError: it is 0, which asks the server for no answer.
        """
        return write_concern(client, self.connection, self.how.write_concern)


@dataclass(frozen=True, slots=True)
class IndexJob:
    """The job of building all indexes of a collection."""

    definition: Definition

    @property
    def namespace(self) -> Namespace:
        """The collection's name on the target."""
        return self.definition.namespace

    def __str__(self) -> str:
        return f"the indexes of {self.namespace}"


class LoadWorker(ServerWorker, Generic[P]):
    """A worker that loads pieces and builds indexes.

    Args:
        target: where documents go.
        senders: how many batches of one piece may be sent at the same time.
    """

    def __init__(self, target: Target, senders: int) -> None:
        super().__init__(target.connection)
        self._how = target.how
        self._senders = 1 if target.how.in_order else senders
        self.at_once = 1
        """Number of pieces to load at the same time, however large they are."""
        self.fresh: frozenset[Namespace] = frozenset()
        """Collections that were empty before: what collides there is in the source twice."""
        self.created: frozenset[Namespace] = frozenset()
        """Collections that this run created, so that they have no indexes yet."""
        self._known_to_keep: dict[bool, bool] = {}
        """True if the server can leave timestamps of zero; the key is True for buckets."""

    def load_all(self, group: Group[P]) -> list[Loaded]:
        """Load the documents of several pieces, several at a time if the server is far away.

        Raises:
            ServerError: a server cannot be reached or refuses.
        """
        return self.each(self.load, group.parts, max(self.at_once, self.under_way))

    def build_all(self, group: Group[IndexJob]) -> list[list[str]]:
        """Build all indexes of several collections; see `build`."""
        return self.each(self.build, group.parts, max(self.under_way, _BUILDERS))

    @property
    def under_way(self) -> int:
        """The number of requests to the target that should be under way at a time."""
        return requests_under_way(self.client)

    @abstractmethod
    def load(self, piece: P) -> Loaded:
        """Load the documents of a piece.

        Raises:
            ServerError: a server cannot be reached or refuses.
        """

    def build(self, job: IndexJob) -> list[str]:
        """Build all indexes of a collection.

        Returns:
            Sentences about the indexes that could not be built.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.connection):
            return retrying(self.connection)(
                indexes.create,
                self.client,
                self.connection,
                job.definition,
                self._how,
                is_new=job.namespace in self.created,
            )

    @property
    def senders(self) -> int:
        """Number of threads that may send at the same time, unless order matters."""
        return 1 if self._how.in_order else max(self._senders, self.under_way)

    def senders_of(self, piece: P) -> int:
        """Return how many threads may send the documents of a piece: one for each MB at most."""
        return max(1, min(self.senders, piece.raw_bytes // _BYTES_FOR_A_SENDER))

    def loaders(
        self, namespace: Namespace, count: int, *, is_of_collection: bool = True
    ) -> list[Loader]:
        """Return loaders for a collection, one for each thread that sends.

        Args:
            namespace: the collection.
            count: how many.
            is_of_collection: whether the documents are known to have an `_id` each.
        """
        key = self._shard_key(namespace)
        reads_first = self._is_harmed_by_refusals(namespace)
        keeps = self._keeps_empty(namespace)
        return [
            Loader(
                self.client,
                self.connection,
                namespace,
                self._how,
                keeps_empty=keeps,
                shard_key=key,
                reads_first=reads_first,
                is_fresh=namespace in self.fresh,
                is_of_collection=is_of_collection,
            )
            for _sender in range(count)
        ]

    def _shard_key(self, namespace: Namespace) -> tuple[bytes, ...]:
        with translated(self.connection):
            return retrying(self.connection)(shard_key, self.client, namespace)

    def _is_harmed_by_refusals(self, namespace: Namespace) -> bool:
        """Return whether inserts that the server refuses change this collection nevertheless.

        MongoDB 4.4 removes the oldest document of a full capped collection then (seen on 4.4.2;
        5.0.4 does not).
        """
        if self._version >= (5,):
            return False
        with translated(self.connection):
            return retrying(self.connection)(schema.is_capped, self.client, namespace)

    def _keeps_empty(self, namespace: Namespace) -> bool:
        kind = namespace.collection.startswith(BUCKETS)
        if kind not in self._known_to_keep:
            with translated(self.connection):
                self._known_to_keep[kind] = retrying(self.connection)(
                    keeps_empty, self.client, namespace
                )
        return self._known_to_keep[kind]

    @cached_property
    def _version(self) -> tuple[int, ...]:
        with translated(self.connection):
            info = retrying(self.connection)(self.client.server_info)
        return tuple(info["versionArray"])

    def send_all(self, loaders: Sequence[Loader], batches: Iterator[Batch]) -> None:
        """Send batches, by one thread for each loader if there are several.

        Memory is bounded: at most two batches for each loader wait.

        Raises:
            IncompleteError: a document was refused, and that is to be the end.
            ServerError: the server cannot be reached or refuses.
        """
        if len(loaders) == 1:
            for batch in batches:
                self.send(loaders[0], batch)
            return
        idle = SimpleQueue[Loader]()
        for loader in loaders:
            idle.put(loader)

        def send_one(batch: Batch) -> None:
            loader = idle.get()
            try:
                self.send(loader, batch)
            finally:
                idle.put(loader)

        with ThreadPoolExecutor(len(loaders), "fastdump-send") as threads:
            sending = deque[Future[None]]()
            for batch in batches:
                sending.append(threads.submit(send_one, batch))
                if len(sending) > 2 * len(loaders):
                    sending.popleft().result()
            for sent in sending:
                sent.result()

    def send(self, loader: Loader, batch: Batch) -> None:
        """Send one batch.

        Raises:
            IncompleteError: a document was refused, and that is to be the end.
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.connection):
            loader.load(batch)
        self.done(batch.documents, len(batch.data))
