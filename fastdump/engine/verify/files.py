"""Verifying a backup of files, which several workers read in segments."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from blake3 import blake3

from fastdump.engine import planner
from fastdump.engine.executors import executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.verify.duplicate_ids import Block, Key, Keys, Sighting
from fastdump.engine.verify.verification import Verification, all_results
from fastdump.engine.verify.worker import Look, Verified, VerifyWorker
from fastdump.errors import BackupDamagedError
from fastdump.layouts.interface import Reader
from fastdump.model import Backup, Namespace, Segment, StoredCollection
from fastdump.progress import Reporter
from fastdump.report import Problem

__all__ = ["FilesVerification"]


class FilesVerification(Verification):
    """A verification of a backup whose collections are files.

    Args:
        backup: the backup.
        collections: the collections whose files are read.
        reader: reads the files.
        workers: number of processes.
        keys: the place for the keys of documents; None if `_id`s are not compared.
        reporter: is told about the progress.
        share: the share of the documents to read, above 0 and at most 1, by their size.
    """

    def __init__(
        self,
        backup: Backup,
        collections: list[StoredCollection],
        reader: Reader,
        workers: int,
        keys: Keys | None,
        reporter: Reporter,
        share: float = 1,
    ) -> None:
        super().__init__(backup, collections, keys, reporter)
        self._reader = reader
        self._workers = workers
        self._share = share

    def run(self) -> None:
        """Read every segment of every file, or some of them by chance.

        Raises:
            IncompleteError: a worker died.
            StorageError: a file cannot be read.
        """
        cut = [segment for found in self._collections for segment in self._segments(found)]
        whole = {segment.namespace for segment in cut}
        if self._share < 1:
            chosen = set(_sample(cut, self._share))
            whole -= {segment.namespace for segment in cut if segment not in chosen}
            cut = [segment for segment in cut if segment in chosen]
        raw_bytes = sum(segment.raw_bytes for segment in cut)
        wanted = min(self._workers, len(cut)) if planner.use_processes(raw_bytes) else 0
        size = processes(wanted, self._reporter)
        left = Counter(segment.namespace for segment in cut)
        blocks: list[Block] = []

        def look_again(name: Namespace, wanted: frozenset[Key]) -> Iterator[Sighting]:
            looks = [Look(segment, wanted) for segment in cut if segment.namespace == name]
            found = all_results(workers, VerifyWorker.look, looks)
            return (sighting for sightings in found for sighting in sightings)

        def take(segment: Segment, verified: Verified) -> None:
            self._found[segment.namespace][segment.number] = verified
            blocks.extend(verified.keys)
            left[segment.namespace] -= 1
            if not left[segment.namespace]:
                self._compare(segment, is_whole=segment.namespace in whole)

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

    def _segments(self, collection: StoredCollection) -> list[Segment]:
        try:
            return self._reader.segments(collection, self._workers)
        except BackupDamagedError as error:
            assert collection.file is not None  # noqa: S101 - only a file can be damaged
            path = collection.file.path
            self.problems.append(Problem(path, str(error).removeprefix(f"{path}: ")))
            return []

    def _compare(self, segment: Segment, *, is_whole: bool) -> None:
        """Compare a file, of which that segment was read last, with its manifest.

        Of a file that was read in part, only the parts themselves can be wrong.
        """
        stored = next(found for found in self._collections if found.namespace == segment.namespace)
        report = self._report(stored)
        found = [verified for _number, verified in sorted(self._found[stored.namespace].items())]
        own = [problem for verified in found for problem in verified.problems]
        digest = blake3(b"".join(verified.member_digests for verified in found))
        stated, path = stored.contents, segment.place.path
        if is_whole and stated.documents not in (None, report.documents):
            message = f"holds {report.documents} documents, not {stated.documents}"
            own.append(Problem(path, message))
        if is_whole and not own and stated.digest not in (None, digest.hexdigest()):
            own.append(Problem(path, "its digest is not that of the manifest"))
        self.problems += own
        self._reporter.finished(report)


def _sample(segments: Sequence[Segment], share: float) -> Iterator[Segment]:
    """Yield segments by chance until they are that share of all documents, at least one."""
    left = share * sum(segment.raw_bytes for segment in segments)
    for segment in random.sample(segments, len(segments)):
        yield segment
        left -= segment.raw_bytes
        if left <= 0:
            return
