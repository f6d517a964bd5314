"""Filling a target database: collections made, loaded by workers, then indexed, then views.

What restore and copy share. Where documents come from is the worker's affair.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

from fastdump.codec.bson import Batch
from fastdump.engine import planner
from fastdump.engine.pool import WorkerPool
from fastdump.engine.worker import ServerWorker
from fastdump.errors import UsageError
from fastdump.model import CollectionKind, Connection, Definition, Loaded, LoadOptions, Namespace
from fastdump.mongo import authorization, indexes, schema, timestamps
from fastdump.mongo.authorization import Authorization
from fastdump.mongo.client import Client, connect, server_info, translated, write_concern
from fastdump.mongo.load import MAX_NAMED, Loader
from fastdump.mongo.retry import retrying
from fastdump.progress import Reporter
from fastdump.report import CollectionReport, LoadReport

__all__ = ["LoadWorker", "Loading", "Piece", "Target", "keeps_order", "look_at"]


class Piece(Hashable, Protocol):
    """What one worker loads in one go: some documents of one collection."""

    @property
    def namespace(self) -> Namespace:
        """The collection's name on the target."""

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of its documents."""


P = TypeVar("P", bound=Piece)
R = TypeVar("R", bound=LoadReport)


@dataclass(frozen=True, slots=True)
class Target:
    """Where documents go, and how."""

    connection: Connection
    how: LoadOptions
    authorization: Authorization | None = None
    """Users and roles among what is loaded."""


def look_at(
    connection: Connection, definitions: Sequence[Definition], how: LoadOptions
) -> tuple[int, list[str]]:
    """About how many documents a target holds, and which of its collections are different.

    Raises:
        ServerError: the target cannot be reached or refuses.
        UsageError: it holds a time series that measurements would be mixed into.
    """
    held, notes = 0, []
    with connect(connection) as client:
        server_info(client, connection)
        with translated(connection):
            present = schema.existing(client, {found.namespace.database for found in definitions})
            for definition in definitions:
                options = present.get(definition.namespace)
                if options is None:
                    continue
                if definition.kind is not CollectionKind.VIEW:
                    count = schema.count(client, definition.data)
                    held += count
                    if count and definition.kind is CollectionKind.TIMESERIES and not how.drop:
                        raise UsageError(_mixed(definition))
                if schema.parsed(options) != schema.parsed(definition.options):
                    notes.append(
                        f"{definition.namespace} exists on the target with other options, which "
                        "stay as they are; --drop would replace it"
                    )
    return held, notes


def keeps_order(definition: Definition, how: LoadOptions) -> bool:
    """Whether documents must be loaded in order: that of a capped collection is its meaning."""
    return how.in_order or bool(schema.parsed(definition.options).get("capped"))


def _mixed(definition: Definition) -> str:
    # The server packs measurements into buckets of its own choice, so that nobody can tell which
    # of them the target has already.
    return (
        f"{definition.namespace} is a time series that holds measurements on the target already: "
        "add --drop to replace it, or leave it out"
    )


class Loading(Generic[P]):
    """One loading while it runs.

    Args:
        target: where documents go.
        definitions: the collections, and views.
        pieces: what is to be loaded.
        reporter: hears how it goes.
        check: called as the reporter is, and raises what is to be the end.
    """

    def __init__(
        self,
        target: Target,
        definitions: Sequence[Definition],
        pieces: Sequence[P],
        reporter: Reporter,
        check: Callable[[int, int], None] | None = None,
    ) -> None:
        self._check_progress = check
        self._target = target
        self._definitions = {definition.namespace: definition for definition in definitions}
        self._pieces = pieces
        self._reporter = reporter
        self._loaded: defaultdict[Namespace, list[Loaded]] = defaultdict(list)
        self.failures: list[str] = []
        """What could not be done, documents aside."""
        self._indexes = 0
        self._workers = 0
        self._seconds = 0.0

    def run(
        self, task: str, documents: int, raw_bytes: int, workers: int, worker: LoadWorker[P]
    ) -> None:
        """Do it.

        Args:
            task: what the reporter calls it.
            documents: an estimate of how many there are.
            raw_bytes: an estimate of their size.
            workers: number of processes at most.
            worker: loads the pieces.

        Raises:
            IncompleteError: a worker died.
            ServerError: the target cannot be reached or refuses.
        """
        if planner.use_processes(raw_bytes):
            self._workers = min(workers, len(self._pieces))
        clock = time.monotonic()
        self._reporter.start(task, documents, raw_bytes)
        try:
            self._create()
            self._load(worker)
            self._create_views()
            self._merge_authorization()
        finally:
            self._reporter.stop()
        self._seconds = time.monotonic() - clock

    def report(self, make: Callable[..., R]) -> R:
        """What was done, as the report that `make` makes of the fields of a `LoadReport`."""
        loaded = [result for results in self._loaded.values() for result in results]
        rejections = [rejection for result in loaded for rejection in result.rejections]
        return make(
            databases=tuple(sorted({name.database for name in self._definitions})),
            workers=self._workers,
            seconds=self._seconds,
            collections=tuple(self._collection_report(name) for name in sorted(self._definitions)),
            inserted=sum(result.inserted for result in loaded),
            replaced=sum(result.replaced for result in loaded),
            unchanged=sum(result.unchanged for result in loaded),
            indexes=self._indexes,
            rejected=sum(result.rejected for result in loaded),
            rejections=tuple(rejections[:MAX_NAMED]),
            reasons=tuple(sum((result.reasons for result in loaded), Counter[str]()).most_common()),
            failures=tuple(self.failures),
            interruptions=sum(result.interruptions for result in loaded),
        )

    def _create(self) -> None:
        """Make the collections, so that documents arrive in what they were taken from."""
        target = self._target

        def create(client: Client) -> None:
            if target.authorization is not None:
                authorization.clear(client)
            if target.how.drop:
                for name in self._definitions:
                    schema.drop(client, name)
            self._make(client, views=False)

        self._on_target(create)

    def _create_views(self) -> None:
        """Make the views, when what they look at is there."""
        if any(one.kind is CollectionKind.VIEW for one in self._definitions.values()):
            self._on_target(lambda client: self._make(client, views=True))

    def _make(self, client: Client, *, views: bool) -> None:
        failures = []
        for definition in self._definitions.values():
            if (definition.kind is CollectionKind.VIEW) is views:
                failures += schema.create(client, definition, self._target.how)
        self.failures += failures

    def _on_target(self, work: Callable[[Client], None]) -> None:
        """Have something done by a server that may go away meanwhile, so it must bear repeating."""
        connection = self._target.connection
        with connect(connection) as client, translated(connection):
            retrying(connection)(work, client)

    def _merge_authorization(self) -> None:
        target = self._target
        if target.authorization is None:
            return
        with connect(target.connection) as client, translated(target.connection):
            try:
                concern = write_concern(client, target.how.write_concern)
                drops = target.how.drop
                authorization.merge(client, target.authorization, replace=drops, concern=concern)
            finally:
                authorization.clear(client)

    def _load(self, worker: LoadWorker[P]) -> None:
        """Load every piece, and build a collection's indexes when its last one is in."""
        left = Counter(piece.namespace for piece in self._pieces)
        with WorkerPool[LoadWorker[P], P | _IndexJob, Loaded | list[str]](
            worker, self._workers, self._tick
        ) as pool:
            for piece in self._pieces:
                pool.submit(LoadWorker[P].do, piece)
            for name, definition in self._definitions.items():
                # Without any document, as where its file is lost.
                if name not in left and definition.indexes and self._target.how.indexes:
                    pool.submit(LoadWorker[P].do, _IndexJob(definition))
            for job, result in pool.results():
                if isinstance(result, Loaded):
                    self._loaded[job.namespace].append(result)
                    if result.damage is not None:
                        self.failures.append(result.damage)
                    left[job.namespace] -= 1
                    if left[job.namespace]:
                        continue
                    self._reporter.finished(self._collection_report(job.namespace))
                    definition = self._definitions[job.namespace]
                    if self._target.how.indexes and definition.indexes:
                        pool.submit_next(LoadWorker[P].do, _IndexJob(definition))
                elif isinstance(job, _IndexJob):
                    self._built(job.definition, result)

    def _tick(self, documents: int, raw_bytes: int) -> None:
        self._reporter.update(documents, raw_bytes)
        if self._check_progress is not None:
            self._check_progress(documents, raw_bytes)

    def _built(self, definition: Definition, failures: list[str]) -> None:
        self._indexes += len(definition.indexes) - len(failures)
        self.failures += failures

    def _collection_report(self, name: Namespace) -> CollectionReport:
        definition, results = self._definitions[name], self._loaded[name]
        return CollectionReport(
            name,
            definition.kind,
            sum(result.documents for result in results),
            sum(result.raw_bytes for result in results),
            definition.file_bytes,
            sum(result.seconds for result in results),
        )


@dataclass(frozen=True, slots=True)
class _IndexJob:
    definition: Definition

    @property
    def namespace(self) -> Namespace:
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

    def do(self, job: P | _IndexJob) -> Loaded | list[str]:
        """Load a piece, or build all indexes of a collection.

        Returns:
            What became of the documents, or what could not be built.

        Raises:
            ServerError: a server cannot be reached or refuses.
        """
        return self.build_indexes(job.definition) if isinstance(job, _IndexJob) else self.load(job)

    @abstractmethod
    def load(self, piece: P) -> Loaded:
        """Load the documents of a piece.

        Raises:
            ServerError: a server cannot be reached or refuses.
        """

    def build_indexes(self, definition: Definition) -> list[str]:
        """Build all indexes of a collection.

        Returns:
            What could not be built.

        Raises:
            ServerError: the server cannot be reached or refuses.
        """
        with translated(self.connection):
            return retrying(self.connection)(indexes.create, self.client, definition, self._how)

    @property
    def senders(self) -> int:
        """How many threads may send at once."""
        return self._senders

    def loaders(self, namespace: Namespace, count: int) -> list[Loader]:
        """Loaders for a collection, one for each thread that sends."""
        return [
            Loader(
                self.client,
                self.connection,
                namespace,
                self._how,
                keeps_empty=self._keeps_empty,
            )
            for _sender in range(count)
        ]

    @cached_property
    def _keeps_empty(self) -> bool:
        with translated(self.connection):
            info = retrying(self.connection)(self.client.server_info)
        return timestamps.can_be_kept(info["versionArray"])

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
