"""Writing an archive of mongodump's, as a file or a stream: many processes, one output.

Every block that a worker writes is a gzip member of its own, so that compression is as parallel as
fetching; to any reader it is one gzip stream.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import reduction
from pathlib import Path
from typing import ClassVar, Protocol

from fastdump.codec import archive, gzip
from fastdump.codec.archive import Described
from fastdump.codec.bson import Batch
from fastdump.errors import ServerError
from fastdump.model import (
    OPLOG,
    ArchivedBlock,
    Catalog,
    Chunk,
    Collection,
    CollectionKind,
    Consistency,
    Encoding,
    Namespace,
    Part,
)
from fastdump.report import CollectionReport
from fastdump.store import metadata
from fastdump.store.base import STREAM, disk
from fastdump.store.locking import Lock
from fastdump.store.volume import Volume, private
from fastdump.version import __version__

__all__ = ["ArchivePlace"]


class _Turns:
    """Turns that processes take, one after another, counted.

    They lock a file without a name, of which the kernel lets go when a process is killed, as it
    does not of a semaphore. The file holds how many turns were taken.

    Args:
        descriptor: of the file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._threads = threading.Lock()  # the other is held by the process as a whole

    @contextmanager
    def next(self) -> Iterator[int]:
        """Wait for a turn; gives its number, from 1."""
        with self._threads:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                number = int.from_bytes(os.pread(self.descriptor, 8, 0), "little") + 1
                os.pwrite(self.descriptor, number.to_bytes(8, "little"), 0)
                yield number
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)


class _Shared:
    """A file or pipe that several processes write to, one block after another."""

    can_restart: ClassVar[bool] = False

    def __init__(self, descriptor: int, path: Path, turns: _Turns) -> None:
        self._descriptor = descriptor
        self._path = path
        self._turns = turns

    def __reduce__(self) -> tuple[object, ...]:
        # Works only while a process is being started, which is when it is needed.
        return _attached, (
            reduction.DupFd(self._descriptor),
            self._path,
            reduction.DupFd(self._turns.descriptor),
        )

    @contextmanager
    def opened(self, chunk: Chunk) -> Iterator[_Shared]:  # noqa: ARG002 - one output for all
        """Itself: it is open all the time."""
        with disk(self._path):
            yield self

    def write(self, data: bytes) -> int:
        """Write a whole block; returns its place among all."""
        left = memoryview(data)
        with self._turns.next() as place:
            while left:
                left = left[os.write(self._descriptor, left) :]
        return place

    def close(self) -> None:
        """Take no more turns."""
        os.close(self._turns.descriptor)


class _Duplicate(Protocol):
    def detach(self) -> int:
        """The descriptor, in the process that it was sent to."""


def _attached(output: _Duplicate, path: Path, turns: _Duplicate) -> _Shared:
    return _Shared(output.detach(), path, _Turns(turns.detach()))


class ArchivePlace:
    """Where one archive goes.

    Args:
        path: the file, which is replaced when the archive is whole; `-` for standard output.
        compressed: with gzip.
        level: of compression of what is not documents.
        mode: of the file.
    """

    def __init__(self, path: str, *, compressed: bool, level: int, mode: int) -> None:
        self._path = path
        self.can_repeat = path != STREAM
        self.volume = Volume(Path(path).absolute().parent, mode)
        self._compressed = compressed
        self._level = level

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> ArchiveWriter:  # noqa: ARG002
        """Start the archive: its head is written at once.

        Raises:
            StorageError: the file cannot be written.
        """
        level = self._level if self._compressed else None
        return ArchiveWriter(self._path, catalog, workers, level, self.volume)


class ArchiveWriter:
    """An archive in the making."""

    encoding = Encoding.ARCHIVE

    def __init__(
        self, path: str, catalog: Catalog, workers: int, level: int | None, volume: Volume
    ) -> None:
        self._volume = volume
        self.path = Path(path) if path == STREAM else Path(path).absolute()
        self.compressed = level is not None
        self._level = level
        self._partial = (
            None if path == STREAM else self.path.with_name(f".{self.path.name}.partial")
        )
        self._collections = {found.namespace: found for found in catalog.collections}
        self._done = Counter[Namespace]()
        self._blocks: defaultdict[Namespace, list[ArchivedBlock]] = defaultdict(list)
        self._parts: defaultdict[Namespace, list[Part]] = defaultdict(list)
        self._lock: Lock | None = None
        self._descriptor = -1
        self._shared: _Shared | None = None
        try:
            with disk(self.path):
                self._descriptor = self._open()
                turns = _Turns(os.memfd_create("turns"))
            self._shared = _Shared(self._descriptor, self.path, turns)
            # So many workers can be at work on so many collections, and one more may be half done.
            self._write(_prelude(catalog, workers + 1))
        except BaseException:
            self.abort()
            raise

    @property
    def name(self) -> str:
        """What the backup will be called."""
        return "of standard output" if self._partial is None else self.path.name

    @property
    def outputs(self) -> _Shared:
        """Where workers write chunks."""
        assert self._shared is not None  # noqa: S101 - until it is closed
        return self._shared

    def add(self, chunk: Chunk, part: Part) -> None:
        """Take over a finished chunk; the last one of a collection ends it."""
        namespace = chunk.namespace
        self._parts[namespace].append(part)
        self._blocks[namespace] += part.blocks
        self._done[namespace] += 1
        if self._done[namespace] == chunk.chunks:
            found = sorted(self._blocks.pop(namespace), key=lambda block: block.place)
            crc = archive.combined((block.crc, block.raw_bytes) for block in found)
            self._write(archive.end(chunk.target, crc))

    def leave_out(self, namespace: Namespace) -> None:
        """What is in a stream stays in it.

        Raises:
            ServerError: always.
        """
        raise ServerError(
            f"{namespace} was dropped while it was read, and what was written of it cannot be "
            "taken out of an archive; run the same command again"
        )

    def parts(self, namespace: Namespace) -> Sequence[Part]:
        """Return the parts of a collection that were taken over."""
        return self._parts[namespace]

    def report(self, namespace: Namespace) -> CollectionReport:
        """What the parts of a collection sum up to."""
        parts = self._parts[namespace]
        return CollectionReport(
            namespace,
            self._collections[namespace].kind,
            sum(part.documents for part in parts),
            sum(part.raw_bytes for part in parts),
            sum(part.file_bytes for part in parts),
            sum(part.seconds for part in parts),
        )

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: Consistency
    ) -> None:
        """Sync the file, then give it its name. A stream has ended with its last collection."""
        del started, ended, consistency  # an archive has no place for them
        for found in catalog.collections:
            if found.kind is CollectionKind.VIEW:
                # It has no documents, but mongorestore waits for its end too.
                self._write(archive.end(found.namespace, 0))
        if self._partial is not None:
            with disk(self.path):
                self._volume.set_mode(self._partial)
                self._volume.sync(self._partial)
                self._partial.rename(self.path)
                self._volume.sync(self.path.parent)

    def forget(self) -> None:
        """Nothing of it is kept anyway."""

    def abort(self) -> None:
        """Remove what was written so far; what was there before is untouched."""
        if self._partial is not None and self._lock is not None:
            with disk(self.path):
                self._partial.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let others write there."""
        with disk(self.path):
            if self._shared is not None:
                self._shared.close()
                self._shared = None
            if self._partial is not None and self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if self._lock is not None:
                self._lock.release()

    def _open(self) -> int:
        if self._partial is None:
            return sys.stdout.fileno()
        self._volume.make_folder(self.path.parent)
        self._lock = Lock(self.path.with_name(f".{self.path.name}.lock"), self.path, self._volume)
        self._partial.unlink(missing_ok=True)
        return private(str(self._partial), os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def _write(self, data: bytes) -> None:
        with disk(self.path):
            self.outputs.write(
                data if self._level is None else gzip.pack(Batch(data, 0), self._level)
            )


def _prelude(catalog: Catalog, concurrent: int) -> bytes:
    return archive.prelude(
        concurrent,
        catalog.server.version,
        f"fastdump {__version__}",
        [_described(found) for found in catalog.collections],
    )


def _described(collection: Collection) -> Described:
    # The oplog, and the users and roles of a database, are documents only.
    is_bare = collection.name.startswith("$") or collection.namespace == OPLOG
    if is_bare:
        return Described(collection.namespace, b"", collection.kind)
    text = metadata.describe(collection)
    exact = (collection.options, *collection.indexes)
    return Described(collection.namespace, text, collection.kind, exact)
