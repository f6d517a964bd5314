"""The common parts of verifying files and verifying an archive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from fastdump.engine.executors import Executor
from fastdump.engine.verify.duplicate_ids import Block, Key, Keys, Met, Sighting, doubled, shares
from fastdump.engine.verify.worker import Verified, VerifyWorker
from fastdump.model import Backup, Namespace, StoredCollection
from fastdump.progress import Reporter
from fastdump.report import CollectionReport, Problem

__all__ = ["LookAgain", "Verification", "all_results"]

_NAMED = 3
"""Number of `_id`s that a problem names of those that occur twice."""

J = TypeVar("J", bound=Hashable)
R = TypeVar("R")

LookAgain = Callable[[Namespace, frozenset[Key]], Iterable[Sighting]]
"""Reads the documents of a collection again, and returns those that have one of some keys."""


class Verification(ABC):
    """A verification of one backup.

    Args:
        backup: the backup.
        collections: the collections whose documents are read.
        keys: the place for the keys of documents; None if `_id`s are not compared.
        reporter: is told about the progress.
    """

    def __init__(
        self,
        backup: Backup,
        collections: list[StoredCollection],
        keys: Keys | None,
        reporter: Reporter,
    ) -> None:
        self._backup = backup
        self._collections = collections
        self._keys = keys
        self._reporter = reporter
        self._found: defaultdict[Namespace, dict[int, Verified]] = defaultdict(dict)
        """The results of the parts of each collection, by their numbers."""
        self.problems: list[Problem] = []

    @abstractmethod
    def run(self) -> None:
        """Read everything.

        Raises:
            IncompleteError: a worker died.
            StorageError: a file cannot be read.
        """

    def reports(self) -> Iterator[CollectionReport]:
        """Yield a line for each collection."""
        return (self._report(collection) for collection in self._collections)

    def _report(self, stored: StoredCollection) -> CollectionReport:
        found = self._found[stored.namespace].values()
        return CollectionReport.of(stored.namespace, stored.kind, found, stored.file_bytes)

    def _find_doubles(
        self,
        workers: Executor[VerifyWorker],
        blocks: Sequence[Block],
        look_again: LookAgain | None,
    ) -> None:
        """Find documents of a collection with the same `_id`, if that is wanted.

        Args:
            workers: compare keys.
            blocks: the keys that were written.
            look_again: reads documents again; None if they cannot be read again.
        """
        if self._keys is None:
            return
        met = Met(Counter(), {})
        for found in all_results(workers, VerifyWorker.compare, shares(blocks)):
            met.merge(found)
        for number, wanted in sorted(met.keys.items()):
            name = self._keys.names[number]
            message = f"{met.counts[number]:,} documents of {name} have the _id of another"
            if look_again is not None:
                shown = doubled(look_again(name, frozenset(wanted)))
                if not shown:
                    continue
                message += f": {', '.join(shown[:_NAMED])}"
            stored = next(one for one in self._collections if one.namespace == name)
            path = self._backup.path if stored.file is None else stored.file.path
            self.problems.append(Problem(path, message))


def all_results(
    workers: Executor[VerifyWorker], work: Callable[[VerifyWorker, J], R], jobs: Iterable[J]
) -> list[R]:
    """Return the results of all jobs, in the order in which they ended."""
    found: list[R] = []
    for job in jobs:
        workers.submit(work, job, lambda _job, result: found.append(result))
    workers.run()
    return found
