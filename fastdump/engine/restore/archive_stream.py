"""Loading an archive while it is read: one reader, several threads that send, little memory."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from fastdump.codec.archive import Block, End
from fastdump.codec.bson import Batch
from fastdump.engine.executors import Progress
from fastdump.engine.load.inspection import keeps_order
from fastdump.engine.load.loading import Loading
from fastdump.engine.load.worker import IndexJob, LoadWorker, Target
from fastdump.errors import BackupDamagedError
from fastdump.model import OPLOG, Namespace, Segment, StoredCollection
from fastdump.model.server import data_namespace
from fastdump.mongo.load import Loader, summed
from fastdump.progress import Reporter

__all__ = ["StreamLoading"]

_TICK_SECONDS = 0.1
_INDEX_BUILDERS = 2


class StreamLoading(Loading[Segment]):
    """A loading of an archive, which builds the indexes of a collection when that has ended.

    Args:
        target: where documents go.
        collections: the collections, called as on the target, by their names in the archive.
        blocks: the blocks of the archive.
        reporter: is told about the progress.
        keep: is called with the entries of an oplog, which may come before the documents.
    """

    def __init__(
        self,
        target: Target,
        collections: Mapping[Namespace, StoredCollection],
        blocks: Iterator[Block | End],
        reporter: Reporter,
        keep: Callable[[Batch], object],
    ) -> None:
        self._keep = keep
        super().__init__(target, list(collections.values()), (), reporter)
        # A block of a time series names its buckets.
        self._collections = {
            data_namespace(name, found.kind): found for name, found in collections.items()
        }
        self._blocks = blocks
        self._loaders = defaultdict[Namespace, dict[int, Loader]](dict)
        self._sent = defaultdict[Namespace, deque[Future[None]]](deque)
        self._unbuilt = [found for found in collections.values() if found.indexes]

    def _load(self, worker: LoadWorker[Segment]) -> None:
        self._collections = {
            name: found
            for name, found in self._collections.items()
            if found.namespace not in self._made.blocked
        }
        self._unbuilt = [one for one in self._unbuilt if one.namespace not in self._made.blocked]
        worker.progress = self._progress = Progress(lambda *_done: None)
        began = time.monotonic()
        senders = max(worker.senders, 1)
        try:
            with (
                ThreadPoolExecutor(_INDEX_BUILDERS, "fastdump-index") as builders,
                ThreadPoolExecutor(senders, "fastdump-send") as threads,
            ):
                building = self._send_all(worker, threads, builders, 2 * senders)
                for job, built in building:
                    self._built(job, built.result())
        finally:
            worker.close()
        for found in self._collections.values():
            loaders = list(self._loaders[found.namespace].values())
            self._loaded[found.namespace].append(summed(loaders, time.monotonic() - began))

    def _send_all(
        self,
        worker: LoadWorker[Segment],
        threads: ThreadPoolExecutor,
        builders: ThreadPoolExecutor,
        waiting: int,
    ) -> list[tuple[IndexJob, Future[list[str]]]]:
        building: list[tuple[IndexJob, Future[list[str]]]] = []

        def build(found: StoredCollection) -> None:
            if found in self._unbuilt and self._builds_indexes:
                self._unbuilt.remove(found)
                job = IndexJob(found)
                building.append((job, builders.submit(worker.build, job)))

        queue = deque[Future[None]]()
        try:
            for event in self._read():
                if event.namespace == OPLOG and isinstance(event, Block):
                    self._keep(event.batch)
                found = self._collections.get(event.namespace)
                if isinstance(event, End):
                    self._check(event)
                    if found is not None:
                        self._wait(found.namespace)
                        build(found)
                elif found is not None:
                    sent = threads.submit(self._send, worker, found, event)
                    queue.append(sent)
                    self._sent[found.namespace].append(sent)
                    if keeps_order(found, self._target.how):
                        sent.result()
                    if len(queue) > waiting:
                        queue.popleft().result()
            for sent in queue:
                sent.result()
        except BaseException:
            for sent in queue:
                sent.cancel()
            raise
        # If the archive is damaged, the collections that did not end keep what came of them.
        for found in list(self._unbuilt):
            build(found)
        return building

    def _read(self) -> Iterator[Block | End]:
        """Yield the blocks of the archive, as far as it can be read."""
        ticked = time.monotonic()
        try:
            for event in self._blocks:
                yield event
                if time.monotonic() - ticked > _TICK_SECONDS:
                    ticked = time.monotonic()
                    self._reporter.update(self._progress.documents, self._progress.raw_bytes)
        except BackupDamagedError as error:
            self.failures.append(f"{error}; what came before that was restored")

    def _send(self, worker: LoadWorker[Segment], found: StoredCollection, block: Block) -> None:
        """Send a block, in a thread; each thread has a loader of its own for a collection."""
        loaders = self._loaders[found.namespace]
        me = threading.get_ident()
        if me not in loaders:
            (loaders[me],) = worker.loaders(found.data, 1, is_of_collection=found.is_of_collection)
        worker.send(loaders[me], block.batch)

    def _check(self, event: End) -> None:
        if not event.intact:
            self.failures.append(
                f"{event.namespace}: the documents in the archive are not those that were written"
            )

    def _wait(self, namespace: Namespace) -> None:
        for sent in self._sent.pop(namespace, ()):
            sent.result()
