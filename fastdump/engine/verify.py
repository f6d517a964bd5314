"""Reading a whole backup and comparing it with what its manifest promises."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3

from fastdump.codec import bson, gzip
from fastdump.codec.archive import End
from fastdump.engine import planner
from fastdump.engine.pool import Meter, WorkerPool
from fastdump.errors import BackupDamagedError, FormatError
from fastdump.model import Backup, Encoding, Member, Namespace, Segment, StoredCollection
from fastdump.mongo import ejson
from fastdump.progress import Reporter
from fastdump.report import CollectionReport, Problem, VerifyReport
from fastdump.store.archive import Archive
from fastdump.store.base import Source, disk
from fastdump.store.joining import file_digest
from fastdump.store.reading import (
    check_files,
    damaged,
    read_batches,
    read_lines,
    read_members,
    segments,
)

__all__ = ["verify"]

_MAX_LINES = 10
"""How many bad lines of a segment are named."""


def verify(source: Source, name: str | None, *, workers: int, reporter: Reporter) -> VerifyReport:
    """Inflate everything, check CRCs, framing, counts and digests.

    Args:
        source: where the backup is.
        name: which, by name or path; None is the most recent.
        workers: number of processes.
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
    problems = check_files(collections)
    missing = {problem.path for problem in problems}
    run = _Verification([found for found in collections if found.path not in missing], reporter)
    if isinstance(source, Archive):
        run.read_archive(source, backup)
    else:
        run.read(workers)
    return VerifyReport(
        backup.name,
        backup.path,
        time.monotonic() - clock,
        tuple(run.reports()),
        tuple(problems + run.problems + source.problems(backup)),
        tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Verified:
    """What was found in a segment."""

    documents: int
    raw_bytes: int
    seconds: float
    member_digests: bytes
    problems: tuple[Problem, ...]


class _Verification:
    """One verification while it runs."""

    def __init__(self, collections: list[StoredCollection], reporter: Reporter) -> None:
        self._collections = collections
        self._reporter = reporter
        self._found: defaultdict[Namespace, dict[int, _Verified]] = defaultdict(dict)
        self.problems: list[Problem] = []

    def read(self, workers: int) -> None:
        """Read every segment of every file."""
        cut = [segment for found in self._collections for segment in self._segments(found, workers)]
        raw_bytes = sum(segment.raw_bytes for segment in cut)
        size = min(workers, len(cut)) if planner.use_processes(raw_bytes) else 0
        left = Counter(segment.namespace for segment in cut)
        self._reporter.start("verify", sum(segment.documents or 0 for segment in cut), raw_bytes)
        try:
            with WorkerPool[_Worker, Segment, _Verified](
                _Worker(), size, self._reporter.update
            ) as pool:
                for segment in cut:
                    pool.submit(_Worker.verify, segment)
                for segment, verified in pool.results():
                    self._found[segment.namespace][segment.number] = verified
                    left[segment.namespace] -= 1
                    if not left[segment.namespace]:
                        self._compare(segment)
        finally:
            self._reporter.stop()

    def read_archive(self, archive: Archive, backup: Backup) -> None:
        """Read an archive, whose only promises are its form and a CRC for each collection."""
        names = {found.data: found for found in self._collections}
        began, documents, raw_bytes = time.monotonic(), 0, 0
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
                found[len(found)] = _Verified(event.batch.documents, size, seconds, b"", ())
                documents, raw_bytes = documents + event.batch.documents, raw_bytes + size
                self._reporter.update(documents, raw_bytes)
                began = time.monotonic()
        except BackupDamagedError as error:
            message = str(error).removeprefix(f"{archive.path}: ")
            self.problems.append(Problem(archive.path, message))
        finally:
            self._reporter.stop()

    def reports(self) -> Iterator[CollectionReport]:
        """A line for each collection."""
        return (self._report(collection) for collection in self._collections)

    def _segments(self, collection: StoredCollection, workers: int) -> list[Segment]:
        try:
            return segments(collection, workers)
        except BackupDamagedError as error:
            assert collection.path is not None  # noqa: S101 - only a file can be damaged
            message = str(error).removeprefix(f"{collection.path}: ")
            self.problems.append(Problem(collection.path, message))
            return []

    def _compare(self, segment: Segment) -> None:
        """A file was read to its end: compare it with its manifest."""
        stored = next(found for found in self._collections if found.namespace == segment.namespace)
        report = self._report(stored)
        found = [verified for _number, verified in sorted(self._found[stored.namespace].items())]
        own = [problem for verified in found for problem in verified.problems]
        digest = blake3(b"".join(verified.member_digests for verified in found))
        if stored.documents not in (None, report.documents):
            own.append(
                Problem(segment.path, f"holds {report.documents} documents, not {stored.documents}")
            )
        if not own and stored.digest not in (None, digest.hexdigest()):
            own.append(Problem(segment.path, "its digest is not that of the manifest"))
        self.problems += own
        self._reporter.finished(report)

    def _report(self, stored: StoredCollection) -> CollectionReport:
        found = self._found[stored.namespace].values()
        return CollectionReport(
            stored.namespace,
            stored.kind,
            sum(verified.documents for verified in found),
            sum(verified.raw_bytes for verified in found),
            stored.file_bytes,
            sum(verified.seconds for verified in found),
        )


class _Worker:
    """Reads segments."""

    meter: Meter | None = None

    def verify(self, segment: Segment) -> _Verified:
        """Read a segment; a damaged member does not end that, its loss is counted."""
        began = time.monotonic()
        documents = raw_bytes = 0
        digests: list[bytes] = []
        problems: list[Problem] = []
        for count, size in self._members(segment, digests, problems):
            documents, raw_bytes = documents + count, raw_bytes + size
            if self.meter is not None:
                self.meter.add(count, size)
        seconds = time.monotonic() - began
        return _Verified(documents, raw_bytes, seconds, b"".join(digests), tuple(problems))

    def _members(
        self, segment: Segment, digests: list[bytes], problems: list[Problem]
    ) -> Iterator[tuple[int, int]]:
        """Documents and bytes of each intact member."""
        try:
            if segment.members is None and not segment.number:
                with disk(segment.path):
                    digests.append(file_digest(segment.path))
            if segment.encoding is Encoding.JSON:
                yield from self._lines(segment, problems)
                return
            if segment.members is None:
                yield from ((batch.documents, len(batch.data)) for batch in read_batches(segment))
                return
            with disk(segment.path), damaged(segment.path):
                for member, data in read_members(segment):
                    digests.append(blake3(data).digest())
                    try:
                        _check_documents(gzip.unpack(data, member), member)
                    except FormatError as error:
                        lost = f"{error} ({member.documents} documents affected)"
                        problems.append(Problem(segment.path, lost))
                    else:
                        yield member.documents, member.raw_bytes
        except BackupDamagedError as error:
            message = str(error).removeprefix(f"{segment.path}: ")
            problems.append(Problem(segment.path, message))

    def _lines(self, segment: Segment, problems: list[Problem]) -> Iterator[tuple[int, int]]:
        """The same of JSON lines."""
        with disk(segment.path), damaged(segment.path):
            more = 0
            for lines in read_lines(segment):
                batch, bad = ejson.decode(lines)
                named = bad[: max(0, _MAX_LINES - len(problems))]
                problems += [
                    Problem(segment.path, f"line {line.number}: {line.reason}") for line in named
                ]
                more += len(bad) - len(named)
                yield batch.documents, len(batch.data)
            if more:
                problems.append(Problem(segment.path, f"{more:,} more lines are no documents"))

    def close(self) -> None:
        """Nothing is open between segments."""


def _check_documents(raw: bytes, member: Member) -> None:
    """Check the framing of a member's documents.

    Raises:
        FormatError: these are no documents, or not so many as the member says.
    """
    found = len(bson.spans(raw))
    if found != member.documents:
        raise FormatError(
            f"the member at byte {member.offset} holds {found} documents, not {member.documents}"
        )
