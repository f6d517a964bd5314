"""Reading a whole backup and comparing it with what its manifest promises.

On demand also looking for documents of a collection with the same `_id`: `engine.unique`.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

from blake3 import blake3

from fastdump.codec.archive import Block as ArchiveBlock
from fastdump.codec.archive import End
from fastdump.engine import planner
from fastdump.engine.executors import Executor, executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.verify.duplicate_ids import (
    Block,
    Key,
    Keys,
    KeyWriter,
    Met,
    Sighting,
    Watch,
    doubled,
    shares,
)
from fastdump.engine.verify.worker import Look, Verified, VerifyWorker
from fastdump.errors import BackupDamagedError
from fastdump.layouts.interface import Reader, Source, Stream
from fastdump.model import OPLOG, Backup, Location, Namespace, Segment, StoredCollection
from fastdump.progress import Reporter
from fastdump.report import CollectionReport, Problem, VerifyReport
from fastdump.storage.temporary_files import scratch_folder

__all__ = ["verify"]

_NAMED = 3

J = TypeVar("J", bound=Hashable)
R = TypeVar("R")
_LookAgain = Callable[[Namespace, frozenset[Key]], Iterable[Sighting]]
"""Reads the documents of a collection again, for those that have one of some keys."""


def verify(
    source: Source,
    name: str | None,
    *,
    workers: int,
    unique: bool = False,
    reporter: Reporter,
) -> VerifyReport:
    """Inflate everything, check CRCs, framing, counts and digests.

    Args:
        source: where the backup is.
        name: which, by name or path; None is the most recent.
        workers: number of processes.
        unique: see that no two documents of a collection have the same `_id`, which takes 16 bytes
            for each document in the folder for temporary files.
        reporter: hears how it goes.

    Raises:
        BackupNotFoundError: there is no such backup.
        IncompleteError: a worker died.
        StorageError: a file cannot be read.
    """
    clock = time.monotonic()
    backup = source.find(name)
    collections, notes = source.contents(backup)
    if backup.oplog is not None:
        collections = [*collections, backup.oplog]
    problems = source.reader.missing(collections)
    missing = {problem.path for problem in problems}
    there = [found for found in collections if not (found.file and found.file.path in missing)]
    with scratch_folder("fastdump-keys-") if unique else nullcontext() as folder:
        keys = None if folder is None else Keys(folder, _with_ids(there))
        run = _Verification(backup.path, there, source.reader, workers, keys, reporter)
        if source.stream is not None:
            run.read_stream(source.stream, backup)
        else:
            run.read()
    return VerifyReport(
        backup.name,
        backup.path,
        time.monotonic() - clock,
        tuple(run.reports()),
        tuple(problems + run.problems + source.problems(backup)),
        tuple(notes),
    )


def _with_ids(collections: list[StoredCollection]) -> tuple[Namespace, ...]:
    """All but the oplog, whose entries have no `_id`."""
    return tuple(found.namespace for found in collections if found.namespace != OPLOG)


class _Verification:
    """One verification while it runs."""

    def __init__(
        self,
        path: Location,
        collections: list[StoredCollection],
        reader: Reader,
        workers: int,
        keys: Keys | None,
        reporter: Reporter,
    ) -> None:
        self._path = path
        self._collections = collections
        self._reader = reader
        self._workers = workers
        self._keys = keys
        """Where those of documents go, if they are wanted."""
        self._reporter = reporter
        self._found: defaultdict[Namespace, dict[int, Verified]] = defaultdict(dict)
        self.problems: list[Problem] = []

    def read(self) -> None:
        """Read every segment of every file."""
        cut = [segment for found in self._collections for segment in self._segments(found)]
        raw_bytes = sum(segment.raw_bytes for segment in cut)
        wanted = min(self._workers, len(cut)) if planner.use_processes(raw_bytes) else 0
        size = processes(wanted, self._reporter)
        left = Counter(segment.namespace for segment in cut)
        blocks: list[Block] = []

        def look_again(name: Namespace, wanted: frozenset[Key]) -> Iterator[Sighting]:
            looks = [Look(segment, wanted) for segment in cut if segment.namespace == name]
            return (one for found in _each(workers, VerifyWorker.look, looks) for one in found)

        def take(segment: Segment, verified: Verified) -> None:
            self._found[segment.namespace][segment.number] = verified
            blocks.extend(verified.keys)
            left[segment.namespace] -= 1
            if not left[segment.namespace]:
                self._compare(segment)

        self._reporter.start("verify", sum(segment.documents or 0 for segment in cut), raw_bytes)
        try:
            with executor(self._worker(), size, self._reporter.update) as workers:
                for segment in cut:
                    workers.submit(VerifyWorker.verify, segment, take)
                workers.run()
                self._find_doubles(workers, blocks, look_again)
        finally:
            self._reporter.stop()

    def _worker(self) -> VerifyWorker:
        return VerifyWorker(self._keys, self._reader)

    def _find_doubles(
        self,
        workers: Executor[VerifyWorker],
        blocks: Sequence[Block],
        look_again: _LookAgain | None,
    ) -> None:
        """See that no two documents of a collection have the same `_id`, if that is wanted."""
        if self._keys is None:
            return
        met = Met(Counter(), {})
        for found in _each(workers, VerifyWorker.compare, shares(blocks)):
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
            self.problems.append(Problem(stored.file.path if stored.file else self._path, message))

    def read_stream(self, archive: Stream, backup: Backup) -> None:
        """Read an archive, whose only promises are its form and a CRC for each collection."""
        names = {found.data: found for found in self._collections}
        began, documents, raw_bytes = time.monotonic(), 0, 0
        writer = None if self._keys is None else KeyWriter(self._keys, self._keys.folder / "all")
        self._reporter.start("verify", 0, archive.raw_bytes)
        try:
            for event in archive.blocks(backup):
                found = (
                    self._found[names[event.namespace].namespace]
                    if event.namespace in names
                    else {}
                )
                if isinstance(event, End):
                    if not event.intact:
                        lost = f"the documents of {event.namespace} fail their CRC"
                        self.problems.append(Problem(archive.path, lost))
                    continue
                seconds = time.monotonic() - began
                size = len(event.batch.data)
                found[len(found)] = Verified(event.batch.documents, size, seconds, b"", ())
                if writer is not None and event.namespace != OPLOG and event.namespace in names:
                    writer.add(names[event.namespace].namespace, event.batch.data)
                documents, raw_bytes = documents + event.batch.documents, raw_bytes + size
                self._reporter.update(documents, raw_bytes)
                began = time.monotonic()
            if writer is not None:
                look_in = partial(self._look_in, archive, names)
                look_again = look_in if archive.can_repeat else None
                with executor(self._worker(), 0, lambda *_done: None) as workers:
                    self._find_doubles(workers, writer.end(), look_again)
        except BackupDamagedError as error:
            message = str(error).removeprefix(f"{archive.path}: ")
            self.problems.append(Problem(archive.path, message))
        finally:
            self._reporter.stop()

    def _look_in(
        self,
        archive: Stream,
        names: Mapping[Namespace, StoredCollection],
        name: Namespace,
        wanted: frozenset[Key],
    ) -> Iterator[Sighting]:
        """Read the archive again."""
        assert self._keys is not None  # noqa: S101 - somebody has compared them
        watch = Watch(self._keys, wanted)
        again = archive.again()
        for event in again.blocks(again.find(None)):
            found = names.get(event.namespace)
            if isinstance(event, ArchiveBlock) and found is not None and found.namespace == name:
                watch.add(name, event.batch.data)
        yield from watch.sightings

    def reports(self) -> Iterator[CollectionReport]:
        """A line for each collection."""
        return (self._report(collection) for collection in self._collections)

    def _segments(self, collection: StoredCollection) -> list[Segment]:
        try:
            return self._reader.segments(collection, self._workers)
        except BackupDamagedError as error:
            assert collection.file is not None  # noqa: S101 - only a file can be damaged
            path = collection.file.path
            self.problems.append(Problem(path, str(error).removeprefix(f"{path}: ")))
            return []

    def _compare(self, segment: Segment) -> None:
        """A file was read to its end: compare it with its manifest."""
        stored = next(found for found in self._collections if found.namespace == segment.namespace)
        report = self._report(stored)
        found = [verified for _number, verified in sorted(self._found[stored.namespace].items())]
        own = [problem for verified in found for problem in verified.problems]
        digest = blake3(b"".join(verified.member_digests for verified in found))
        stated, path = stored.contents, segment.place.path
        if stated.documents not in (None, report.documents):
            own.append(Problem(path, f"holds {report.documents} documents, not {stated.documents}"))
        if not own and stated.digest not in (None, digest.hexdigest()):
            own.append(Problem(path, "its digest is not that of the manifest"))
        self.problems += own
        self._reporter.finished(report)

    def _report(self, stored: StoredCollection) -> CollectionReport:
        found = self._found[stored.namespace].values()
        return CollectionReport.of(stored.namespace, stored.kind, found, stored.file_bytes)


def _each(
    workers: Executor[VerifyWorker], work: Callable[[VerifyWorker, J], R], jobs: Iterable[J]
) -> list[R]:
    """Return the results of all jobs, in the order in which they ended."""
    found: list[R] = []
    for job in jobs:
        workers.submit(work, job, lambda _job, result: found.append(result))
    workers.run()
    return found
