"""Loading documents into a target: its collections are made, filled and indexed, then its views.

Restore and copy share this; where documents come from is the affair of their workers.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from fastdump.engine import planner
from fastdump.engine.executors import Executor, executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.grouping import Group, grouped
from fastdump.engine.load.replaying import replay
from fastdump.engine.load.target_collections import TargetCollections, merge_authorization
from fastdump.engine.load.worker import IndexJob, LoadWorker, Operations, Piece, Target
from fastdump.model import ClusterTime, Definition, Loaded, Namespace
from fastdump.progress import Reporter
from fastdump.report import CollectionReport, LoadReport

__all__ = ["Loading"]

P = TypeVar("P", bound=Piece)
R = TypeVar("R", bound=LoadReport)


class Loading(Generic[P]):
    """One restore or copy while it runs.

    Args:
        target: where documents go.
        definitions: the collections and views to make.
        pieces: the parts of collections to load.
        reporter: is told about the progress.
        check: is called as the reporter is, and may raise an error to end it all.
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
        """Everything that could not be done, except for rejected documents."""
        self.notes: list[str] = []
        """Sentences that the user should know."""
        self._made = TargetCollections(target, self._definitions, self.failures, self.notes)
        self._indexes = 0
        self._operations = 0
        self.replayed_to: ClusterTime | None = None
        """The last entry of an oplog that was replayed."""
        self._workers = 0
        self._seconds = 0.0

    def run(
        self, task: str, documents: int, raw_bytes: int, workers: int, worker: LoadWorker[P]
    ) -> None:
        """Make the collections, load the pieces, build indexes, and make the views.

        Args:
            task: the name of the command, for the reporter.
            documents: an estimate of the number of documents.
            raw_bytes: an estimate of their size.
            workers: number of processes at most.
            worker: loads the pieces.

        Raises:
            IncompleteError: a worker died.
            ServerError: the target cannot be reached or refuses.
        """
        if planner.use_processes(raw_bytes, len(self._definitions)):
            self._workers = processes(min(workers, len(self._pieces)), self._reporter)
        clock = time.monotonic()
        self._reporter.start(task, documents, raw_bytes)
        try:
            self._made.create()
            worker.created = self._made.created
            if task == "restore" and self._target.operations is None:
                worker.fresh = frozenset(self._made.fresh)
            self._load(worker)
            self._made.create_views()
            if self._target.operations is not None:
                self._replay(self._target.operations, worker)
            merge_authorization(self._target)
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
        """Return a report, which `make` makes of the fields of a `LoadReport`."""
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
        """Return how many documents of each collection were loaded."""
        return {name: Loaded.total(results).documents for name, results in self._loaded.items()}

    @property
    def _builds_indexes(self) -> bool:
        """True if the indexes of a collection are built as soon as its documents are loaded."""
        # While an oplog is replayed, documents may break unique indexes.
        return self._target.how.indexes and self._target.operations is None

    def _replay(self, operations: Operations, worker: LoadWorker[P]) -> None:
        """Replay an oplog, then build the indexes that there were at its end."""
        done = replay(self._target, operations, self._definitions, self._made.blocked)
        self._operations, self.replayed_to = done.operations, done.reached
        self.failures += done.failures
        if self._target.how.indexes:
            self._build([one for one in done.definitions if one.indexes], worker)

    def _build(self, definitions: Sequence[Definition], worker: LoadWorker[P]) -> None:
        size = min(self._workers, len(definitions))
        with executor(worker, size, lambda *_done: None) as workers:
            for definition in definitions:
                self._submit_indexes(workers, [definition])
            workers.run()

    def _submit_indexes(
        self,
        workers: Executor[LoadWorker[P]],
        definitions: Iterable[Definition],
        *,
        first: bool = False,
    ) -> None:
        if jobs := tuple(IndexJob(one) for one in definitions if one.indexes):
            workers.submit(LoadWorker[P].build_all, Group(jobs), self._built_all, first=first)

    def _load(self, worker: LoadWorker[P]) -> None:
        """Load every piece, and build the indexes of a collection when its last piece is loaded."""
        pieces = [piece for piece in self._pieces if piece.namespace not in self._made.blocked]
        left = Counter(piece.namespace for piece in pieces)
        with executor(worker, self._workers, self._tick) as workers:

            def take(group: Group[P], results: Sequence[Loaded]) -> None:
                ended = []
                for piece, loaded in zip(group.parts, results, strict=True):
                    self._take(piece, loaded)
                    left[piece.namespace] -= 1
                    if not left[piece.namespace]:
                        ended.append(piece.namespace)
                for name in ended:
                    self._reporter.finished(self._collection_report(name))
                if self._builds_indexes:
                    self._submit_indexes(
                        workers, [self._definitions[name] for name in ended], first=True
                    )

            for group in grouped(pieces, self._workers, worker.at_once):
                workers.submit(LoadWorker[P].load_all, group, take)
            if self._builds_indexes:
                # Collections without any piece, for example because their files are lost.
                for name, definition in self._definitions.items():
                    if name not in left and name not in self._made.blocked:
                        self._submit_indexes(workers, [definition])
            workers.run()

    def _take(self, piece: P, loaded: Loaded) -> None:
        self._loaded[piece.namespace].append(loaded)
        if loaded.damage is not None:
            self.failures.append(loaded.damage)

    def _tick(self, documents: int, raw_bytes: int) -> None:
        self._reporter.update(documents, raw_bytes)
        if self._check_progress is not None:
            self._check_progress(documents, raw_bytes)

    def _built_all(self, group: Group[IndexJob], results: Sequence[list[str]]) -> None:
        for job, failures in zip(group.parts, results, strict=True):
            self._built(job, failures)

    def _built(self, job: IndexJob, failures: list[str]) -> None:
        self._indexes += len(job.definition.indexes) - len(failures)
        self.failures += failures

    def _collection_report(self, name: Namespace) -> CollectionReport:
        found = self._definitions[name]
        return CollectionReport.of(name, found.kind, self._loaded[name], found.file_bytes)
