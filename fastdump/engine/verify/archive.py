"""Verifying an archive, which one process reads from its beginning to its end."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastdump.codec.archive import Block, End
from fastdump.engine.executors import executor
from fastdump.engine.verify.duplicate_ids import Key, Keys, KeyWriter, Sighting, Watch
from fastdump.engine.verify.verification import Verification
from fastdump.engine.verify.worker import Verified, VerifyWorker
from fastdump.errors import BackupDamagedError
from fastdump.layouts.interface import Stream
from fastdump.layouts.segments import FileReader
from fastdump.model import OPLOG, Backup, Namespace, StoredCollection
from fastdump.progress import Reporter
from fastdump.report import Problem

__all__ = ["ArchiveVerification"]


class ArchiveVerification(Verification):
    """A verification of an archive, which promises only its form and a CRC for each collection.

    Args:
        backup: the archive as a backup.
        archive: its stream.
        collections: the collections in it.
        keys: the place for the keys of documents; None if `_id`s are not compared.
        reporter: is told about the progress.
    """

    def __init__(
        self,
        backup: Backup,
        archive: Stream,
        collections: list[StoredCollection],
        keys: Keys | None,
        reporter: Reporter,
    ) -> None:
        super().__init__(backup, collections, keys, reporter)
        self._archive = archive
        self._names = {found.data: found.namespace for found in collections}
        """The collections, by the names that blocks have: those of the buckets of time series."""
        self._writer = None if keys is None else KeyWriter(keys, keys.folder / "all")
        self._done = (0, 0)
        """Documents and bytes that were read."""

    def run(self) -> None:
        """Read the archive.

        Raises:
            StorageError: the file cannot be read.
        """
        archive = self._archive
        self._reporter.start("verify", 0, archive.raw_bytes)
        began = time.monotonic()
        try:
            for event in archive.blocks(self._backup):
                if isinstance(event, End):
                    self._check(event)
                else:
                    self._take(event, time.monotonic() - began)
                    began = time.monotonic()
            if self._writer is not None:
                look_again = self._look_again if archive.can_repeat else None
                with executor(
                    VerifyWorker(self._keys, FileReader()), 0, lambda *_done: None
                ) as workers:
                    self._find_doubles(workers, self._writer.end(), look_again)
        except BackupDamagedError as error:
            message = str(error).removeprefix(f"{archive.path}: ")
            self.problems.append(Problem(archive.path, message))
        finally:
            self._reporter.stop()

    def _check(self, end: End) -> None:
        if not end.intact:
            lost = f"the documents of {end.namespace} fail their CRC"
            self.problems.append(Problem(self._archive.path, lost))

    def _take(self, block: Block, seconds: float) -> None:
        documents, size = block.batch.documents, len(block.batch.data)
        name = self._names.get(block.namespace)
        if name is not None:
            found = self._found[name]
            found[len(found)] = Verified(documents, size, seconds, b"", ())
            if self._writer is not None and name != OPLOG:
                self._writer.add(name, block.batch.data)
        self._done = self._done[0] + documents, self._done[1] + size
        self._reporter.update(*self._done)

    def _look_again(self, name: Namespace, wanted: frozenset[Key]) -> Iterator[Sighting]:
        """Read the archive again, for the documents of a collection that have one of some keys."""
        assert self._keys is not None  # noqa: S101 - the keys were compared
        watch = Watch(self._keys, wanted)
        again = self._archive.again()
        for event in again.blocks(again.find(None)):
            if isinstance(event, Block) and self._names.get(event.namespace) == name:
                watch.add(name, event.batch.data)
        yield from watch.sightings
