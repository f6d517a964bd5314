"""What a worker does that loads documents: pieces of collections, and their indexes.

What restore and copy share. Where documents come from is the worker's affair.
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
from fastdump.engine.server_worker import ServerWorker
from fastdump.model import ClusterTime, Connection, Definition, Loaded, LoadOptions, Namespace
from fastdump.mongo import indexes, schema
from fastdump.mongo.authorization import Authorization
from fastdump.mongo.client import translated
from fastdump.mongo.load import Loader
from fastdump.mongo.retry import retrying
from fastdump.mongo.shard_key import shard_key
from fastdump.mongo.writes import keeps_empty

__all__ = ["IndexJob", "LoadWorker", "Operations", "Piece", "Target"]


class Piece(Hashable, Protocol):
    """What one worker loads in one go: some documents of one collection."""

    @property
    def namespace(self) -> Namespace:
        """The collection's name on the target."""

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of its documents."""


P = TypeVar("P", bound=Piece)


@dataclass(frozen=True, slots=True)
class Operations:
    """An oplog to replay when all documents are in."""

    batches: Callable[[], Iterator[Batch]]
    """Its entries, asked for only then."""
    name_of: Callable[[Namespace], Namespace | None]
    """What a collection is called on the target; None for one that is not wanted."""
    limit: ClusterTime | None = None
    """The entry before which to end."""
    is_of_another: bool = False
    """Whether the oplog is not that of the backup, so that the target may hold what it is of."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where documents go, and how."""

    connection: Connection
    how: LoadOptions
    authorization: Authorization | None = None
    """Users and roles among what is loaded."""
    operations: Operations | None = None
    """What is replayed when it is loaded."""


@dataclass(frozen=True, slots=True)
class IndexJob:
    """All indexes of a collection are to be built."""

    definition: Definition

    @property
    def namespace(self) -> Namespace:
        """The collection's name on the target."""
        return self.definition.namespace

    def __str__(self) -> str:
        return f"the indexes of {self.namespace}"


class LoadWorker(ServerWorker, Generic[P]):
    """Loads pieces and builds indexes.

    Args:
        target: where documents go.
        senders: how many batches of one piece may be on their way at once.
    """

    def __init__(self, target: Target, senders: int) -> None:
        super().__init__(target.connection)
        self._how = target.how
        self._senders = 1 if target.how.in_order else senders
        self.fresh: frozenset[Namespace] = frozenset()
        """What was empty before: what collides there is in the source twice."""

    @abstractmethod
    def load(self, piece: P) -> Loaded:
        """Load the documents of a piece.

        Raises:
            ServerError: a server cannot be reached or refuses.
        """

    def build(self, job: IndexJob) -> list[str]:
        """Build all indexes of a collection.

        Returns:
            What could not be built.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.connection):
            return retrying(self.connection)(
                indexes.create, self.client, self.connection, job.definition, self._how
            )

    @property
    def senders(self) -> int:
        """How many threads may send at once."""
        return self._senders

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
        """Return whether an insert into this collection does harm even if the server refuses it.

        MongoDB 4.4 removes the oldest document of a full capped collection for it (seen on 4.4.2;
        5.0.4 does not).
        """
        if self._version >= (5,):
            return False
        with translated(self.connection):
            return retrying(self.connection)(schema.is_capped, self.client, namespace)

    def _keeps_empty(self, namespace: Namespace) -> bool:
        with translated(self.connection):
            return retrying(self.connection)(keeps_empty, self.client, namespace)

    @cached_property
    def _version(self) -> tuple[int, ...]:
        with translated(self.connection):
            info = retrying(self.connection)(self.client.server_info)
        return tuple(info["versionArray"])

    def send_all(self, loaders: Sequence[Loader], batches: Iterator[Batch]) -> None:
        """Send batches, by as many threads as there are loaders where there are several.

        Few batches wait, so memory is bounded.
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
        """Send one batch."""
        with translated(self.connection):
            loader.load(batch)
        self.done(batch.documents, len(batch.data))
