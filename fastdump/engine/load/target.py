"""Filling a target database: collections made, loaded by workers, then indexed, then views.

What restore and copy share. Where documents come from is the worker's affair.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from fastdump.codec.definitions import differing, has_true
from fastdump.engine import planner
from fastdump.engine.executors import executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.load.time_series import Documents, check_series
from fastdump.engine.load.worker import IndexJob, LoadWorker, Operations, Piece, Target
from fastdump.model import (
    ClusterTime,
    CollectionKind,
    Connection,
    Definition,
    Loaded,
    LoadOptions,
    Namespace,
    Selection,
)
from fastdump.mongo import authorization, schema
from fastdump.mongo.catalog import read_definitions
from fastdump.mongo.client import Client, Document, connect, server_info, translated
from fastdump.mongo.confirming import write_concern
from fastdump.mongo.replay import Replay
from fastdump.mongo.replica import check_primary
from fastdump.mongo.retry import retrying
from fastdump.mongo.target import check_case, too_long
from fastdump.progress import Reporter
from fastdump.report import CollectionReport, LoadReport

__all__ = ["Loading", "keeps_order", "look_at"]


def look_at(
    connection: Connection,
    definitions: Sequence[Definition],
    how: LoadOptions,
    documents: Documents,
) -> tuple[int, list[str]]:
    """About how many documents a target holds, and which of its collections are different.

    Args:
        connection: the target.
        definitions: the collections that are to be loaded.
        how: what the user wants.
        documents: reads what is to be loaded into one.

    Raises:
        ServerError: the target cannot be reached or refuses.
        UsageError: the write concern is 0, or the target is a secondary, or holds a time series
            that measurements would be mixed into, or a database whose name differs in case only.
    """
    held, notes = 0, [said for said in map(too_long, definitions) if said]
    with connect(connection) as client:
        write_concern(client, connection, how.write_concern)
        server_info(client, connection)
        with translated(connection):
            databases = {found.namespace.database for found in definitions}
            retrying(connection)(check_primary, client, connection)
            retrying(connection)(check_case, client, connection, databases)
            present = retrying(connection)(schema.existing, client, databases)
            for definition in definitions:
                found = present.get(definition.namespace)
                if found is None:
                    continue
                if found.kind is not definition.kind:
                    if not how.drop:
                        notes.append(_in_the_way(definition, found))
                    continue
                if definition.kind is not CollectionKind.VIEW:
                    count = retrying(connection)(schema.count, client, definition.data)
                    held += count
                    if count and definition.kind is CollectionKind.TIMESERIES and not how.drop:
                        check_series(client, connection, definition, documents)
                if differing(found.options, definition.options):
                    notes.append(
                        f"{definition.namespace} exists on the target with other options, which "
                        "stay as they are; --drop would replace it"
                    )
    return held, notes


def keeps_order(definition: Definition, how: LoadOptions) -> bool:
    """Whether documents must be loaded in order: that of a capped collection is its meaning."""
    return how.in_order or has_true(definition.options, b"capped")


def _in_the_way(definition: Definition, found: schema.Present) -> str:
    return (
        f"{definition.namespace} is a {found.kind} on the target and a {definition.kind} in the "
        "source: it is left alone, and nothing of it is written; --drop would replace it"
    )


P = TypeVar("P", bound=Piece)
R = TypeVar("R", bound=LoadReport)


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
        self._unnamable = {
            name: said for name, one in self._definitions.items() if (said := too_long(one))
        }
        self.failures = list(self._unnamable.values())
        """What could not be done, documents aside."""
        self.notes: list[str] = []
        """What the user should know of it."""
        self._blocked = set(self._unnamable)
        """Collections that are not filled: they could not be made, or another kind is there."""
        self._created: dict[Namespace, schema.Created] = {}
        self._fresh: set[Namespace] = set()
        """What holds the documents of collections that are empty."""
        self._indexes = 0
        self._operations = 0
        self.replayed_to: ClusterTime | None = None
        """The last operation that was replayed."""
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
            self._workers = processes(min(workers, len(self._pieces)), self._reporter)
        clock = time.monotonic()
        self._reporter.start(task, documents, raw_bytes)
        try:
            self._create()
            if task == "restore" and self._target.operations is None:
                worker.fresh = frozenset(self._fresh)
            self._load(worker)
            self._create_views()
            if self._target.operations is not None:
                self._replay(self._target.operations, worker)
            self._merge_authorization()
        finally:
            self._reporter.stop()
        self._seconds = time.monotonic() - clock
        for name, results in self._loaded.items():
            if bare := Loaded.total(results).without_id:
                self.notes.append(
                    f"{name}: {bare:,} documents have no _id: the server gave each a new one, so "
                    "that restoring them again doubles them"
                )

    def report(self, make: Callable[..., R]) -> R:
        """What was done, as the report that `make` makes of the fields of a `LoadReport`."""
        loaded = Loaded.total(result for results in self._loaded.values() for result in results)
        return make(
            databases=tuple(sorted({name.database for name in self._definitions})),
            workers=self._workers,
            seconds=self._seconds,
            collections=tuple(self._collection_report(name) for name in sorted(self._definitions)),
            inserted=loaded.inserted,
            replaced=loaded.replaced,
            unchanged=loaded.unchanged,
            indexes=self._indexes,
            rejected=loaded.rejected,
            rejections=loaded.rejections,
            reasons=tuple(loaded.reasons.most_common()),
            failures=tuple(self.failures),
            interruptions=loaded.interruptions,
            operations=self._operations,
        )

    def documents(self) -> dict[Namespace, int]:
        """Return how many documents came of each collection."""
        return {name: Loaded.total(results).documents for name, results in self._loaded.items()}

    @property
    def _builds_indexes(self) -> bool:
        """Whether a collection's indexes are built as soon as its documents are in."""
        # On the way through an oplog, documents may break unique ones.
        return self._target.how.indexes and self._target.operations is None

    def _replay(self, operations: Operations, worker: LoadWorker[P]) -> None:
        """Replay an oplog, then build the indexes that there were at its end."""
        connection = self._target.connection
        with connect(connection) as client, translated(connection):
            beside = self._beside(client) if operations.is_of_another else []
            replay = Replay(
                client,
                connection,
                lambda name: self._unblocked(operations.name_of(name)),
                [
                    *(one for name, one in self._definitions.items() if name not in self._blocked),
                    *beside,
                ],
                keeps=operations.is_of_another,
                concern=self._concern(client),
                limit=operations.limit,
            )
            for batch in operations.batches():
                if not replay.apply(batch):
                    break
            # What stands beside has its indexes, unless the oplog has changed them.
            definitions = [one for one in replay.end() if one not in beside]
        self._operations, self.replayed_to = replay.operations, replay.reached
        if operations.is_of_another:
            self.failures += (
                f"{name}: {count:,} operations of the oplog could not be replayed, since the "
                "target holds no such collection"
                for name, count in replay.missing.items()
            )
        if self._target.how.indexes:
            self._build([one for one in definitions if one.indexes], worker)

    def _beside(self, client: Client) -> list[Definition]:
        """Return what the target holds that was not restored."""
        there = retrying(self._target.connection)(read_definitions, client, Selection(None))
        return [one for one in there if one.namespace not in self._definitions]

    def _unblocked(self, name: Namespace | None) -> Namespace | None:
        return None if name in self._blocked else name

    def _build(self, definitions: Sequence[Definition], worker: LoadWorker[P]) -> None:
        size = min(self._workers, len(definitions))
        with executor(worker, size, lambda *_done: None) as workers:
            for definition in definitions:
                workers.submit(LoadWorker[P].build, IndexJob(definition), self._built)
            workers.run()

    def _create(self) -> None:
        """Make the collections, so that documents arrive in what they were taken from."""
        target = self._target

        def clear(client: Client) -> None:
            if target.authorization is not None:
                authorization.clear(client, self._concern(client))
            if target.how.drop:
                for name in self._definitions.keys() - self._unnamable:
                    schema.drop(client, name, self._concern(client))

        self._on_target(clear)
        self._on_target(lambda client: self._make(client, views=False))

    def _create_views(self) -> None:
        """Make the views, when what they look at is there."""
        if any(one.kind is CollectionKind.VIEW for one in self._definitions.values()):
            self._on_target(lambda client: self._make(client, views=True))

    def _make(self, client: Client, *, views: bool) -> None:
        wanted = [
            one
            for one in self._definitions.values()
            if (one.kind is CollectionKind.VIEW) is views and one.namespace not in self._unnamable
        ]
        databases = {one.namespace.database for one in wanted}
        present = schema.existing(client, databases)
        failures = []
        for one in wanted:
            if one.namespace in self._created:
                continue  # by an attempt before this one
            found = present.get(one.namespace)
            if found is None:
                self._created[one.namespace] = schema.create(
                    client, one, self._target.how, self._concern(client)
                )
                self._fresh.add(one.data)
            elif found.kind is not one.kind:
                failures.append(_in_the_way(one, found))
                self._blocked.add(one.namespace)
            elif not views and not schema.count(client, one.data):
                self._fresh.add(one.data)
        present = schema.existing(client, databases)
        for one in wanted:
            if one.namespace in self._created:
                self._look_at(present.get(one.namespace), one)
        self.failures += failures

    def _look_at(self, present: schema.Present | None, definition: Definition) -> None:
        """See what the server made of a definition."""
        created = schema.compare(
            present, definition, self._created[definition.namespace], self._target.how
        )
        self.failures += created.failures
        if created.left_out:
            self.notes.append(
                f"{definition.namespace}: {', '.join(created.left_out)} means nothing any more, "
                "and was left out"
            )
        if not created.is_there:
            self._blocked.add(definition.namespace)

    def _concern(self, client: Client) -> Document:
        return write_concern(client, self._target.connection, self._target.how.write_concern)

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
                concern = self._concern(client)
                drops = target.how.drop
                authorization.merge(client, target.authorization, replace=drops, concern=concern)
            finally:
                authorization.clear(client, self._concern(client))

    def _load(self, worker: LoadWorker[P]) -> None:
        """Load every piece, and build a collection's indexes when its last one is in."""
        pieces = [piece for piece in self._pieces if piece.namespace not in self._blocked]
        left = Counter(piece.namespace for piece in pieces)
        with executor(worker, self._workers, self._tick) as workers:

            def take(piece: P, loaded: Loaded) -> None:
                self._take(piece, loaded)
                left[piece.namespace] -= 1
                if not left[piece.namespace]:
                    self._reporter.finished(self._collection_report(piece.namespace))
                    build(self._definitions[piece.namespace], first=True)

            def build(definition: Definition, *, first: bool) -> None:
                if self._builds_indexes and definition.indexes:
                    job = IndexJob(definition)
                    workers.submit(LoadWorker[P].build, job, self._built, first=first)

            for piece in pieces:
                workers.submit(type(worker).load, piece, take)
            for name, definition in self._definitions.items():
                # Without any document, as where its file is lost.
                if name not in left and name not in self._blocked:
                    build(definition, first=False)
            workers.run()

    def _take(self, piece: P, loaded: Loaded) -> None:
        self._loaded[piece.namespace].append(loaded)
        if loaded.damage is not None:
            self.failures.append(loaded.damage)

    def _tick(self, documents: int, raw_bytes: int) -> None:
        self._reporter.update(documents, raw_bytes)
        if self._check_progress is not None:
            self._check_progress(documents, raw_bytes)

    def _built(self, job: IndexJob, failures: list[str]) -> None:
        self._indexes += len(job.definition.indexes) - len(failures)
        self.failures += failures

    def _collection_report(self, name: Namespace) -> CollectionReport:
        found = self._definitions[name]
        return CollectionReport.of(name, found.kind, self._loaded[name], found.file_bytes)
