"""The worker's part of a verification: reading segments, and comparing keys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from fastdump.codec.bson import Batch
from fastdump.engine.executors import Progress
from fastdump.engine.verify.duplicate_ids import (
    Block,
    Key,
    Keys,
    Met,
    Share,
    Sighting,
    Watch,
    compare,
)
from fastdump.errors import BackupDamagedError
from fastdump.layouts.interface import Reader
from fastdump.layouts.joined_files import file_digest
from fastdump.layouts.segments import damaged, read_lines
from fastdump.model import Encoding, Segment
from fastdump.mongo import ejson
from fastdump.report import Problem
from fastdump.storage.disk_errors import disk

__all__ = ["Look", "Verified", "VerifyWorker"]

_MAX_LINES = 10
"""Number of bad lines of a segment that are named."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of reading a segment."""

    documents: int
    raw_bytes: int
    seconds: float
    member_digests: bytes
    problems: tuple[Problem, ...]
    keys: tuple[Block, ...] = ()
    """The keys of its documents, if `_id`s are compared."""


@dataclass(frozen=True, slots=True)
class Look:
    """A search for the documents of a segment that have one of some keys."""

    segment: Segment
    wanted: frozenset[Key]


class VerifyWorker:
    """A worker that reads segments.

    Args:
        keys: the place for the keys of documents; None if `_id`s are not compared.
        reader: reads the documents of the backup.
    """

    def __init__(self, keys: Keys | None, reader: Reader) -> None:
        self._reader = reader
        self.progress: Progress | None = None
        self._keys = keys

    def verify(self, segment: Segment) -> Verified:
        """Read a segment to its end. Damaged members become problems of the result.

        Raises:
            StorageError: the file cannot be read.
        """
        began = time.monotonic()
        documents = raw_bytes = 0
        digests: list[bytes] = []
        problems: list[Problem] = []
        writer = None if self._keys is None else self._keys.writer(segment)
        for batch in self._batches(segment, digests, problems):
            documents, raw_bytes = documents + batch.documents, raw_bytes + len(batch.data)
            if writer is not None:
                writer.add(segment.namespace, batch.data)
            if self.progress is not None:
                self.progress.add(batch.documents, len(batch.data))
        keys = () if writer is None else writer.end()
        seconds = time.monotonic() - began
        return Verified(documents, raw_bytes, seconds, b"".join(digests), tuple(problems), keys)

    def compare(self, share: Share) -> Met:
        """Compare the keys of a share.

        Raises:
            StorageError: the keys cannot be read.
        """
        return compare(share)

    def look(self, job: Look) -> list[Sighting]:
        """Read a segment again, and return the documents that have one of the keys.

        Raises:
            StorageError: the file cannot be read.
        """
        assert self._keys is not None  # noqa: S101 - the keys were compared
        watch = Watch(self._keys, job.wanted)
        for batch in self._batches(job.segment, [], []):
            watch.add(job.segment.namespace, batch.data)
        return watch.sightings

    def _batches(
        self, segment: Segment, digests: list[bytes], problems: list[Problem]
    ) -> Iterator[Batch]:
        """Yield the documents of each intact member; digests and problems go into the lists."""
        place = segment.place
        try:
            if place.members is None and not segment.number:
                with disk(place.path):
                    digests.append(file_digest(place.path))
            if place.encoding is Encoding.JSON:
                yield from self._lines(segment, problems)
                return
            yield from self._reader.verified(place, digests, problems)
        except BackupDamagedError as error:
            message = str(error).removeprefix(f"{place.path}: ")
            problems.append(Problem(place.path, message))

    def _lines(self, segment: Segment, problems: list[Problem]) -> Iterator[Batch]:
        """Yield the documents of a file of JSON lines."""
        path = segment.place.path
        with disk(path), damaged(path):
            more = 0
            for lines in read_lines(segment):
                batch, bad = ejson.decode(lines)
                named = bad[: max(0, _MAX_LINES - len(problems))]
                problems += [Problem(path, f"line {line.number}: {line.reason}") for line in named]
                more += len(bad) - len(named)
                yield batch
            if more:
                problems.append(Problem(path, f"{more:,} more lines are no documents"))

    def close(self) -> None:
        """Do nothing: no file stays open between segments."""
