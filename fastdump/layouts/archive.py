"""The layout `archive`: mongodump's archive in a file or stream, with many writers and one reader.

The format is in `fastdump.codec.archive`. Every block that a worker writes is a gzip member of its
own, so that compression is as parallel as fetching; for readers all of it is one gzip stream.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from fastdump.codec import archive, gzip
from fastdump.codec.archive import Block, Described, End
from fastdump.codec.bson import Batch
from fastdump.errors import BackupNotFoundError, FormatError, ServerError
from fastdump.layouts import mongodump_metadata as metadata
from fastdump.layouts.archive_output import STREAM, SharedOutput, Turns
from fastdump.layouts.archive_start import START_BYTES, check_start
from fastdump.layouts.segments import FileReader, damaged
from fastdump.model import (
    OPLOG,
    ArchivedBlock,
    Backup,
    Catalog,
    Chunk,
    Collection,
    CollectionKind,
    Consistency,
    Encoding,
    Namespace,
    Part,
    StoredCollection,
)
from fastdump.report import CollectionReport, Problem
from fastdump.storage.disk_errors import disk
from fastdump.storage.locking import Lock
from fastdump.storage.volume import Volume, private
from fastdump.version import __version__

__all__ = ["STREAM", "Archive", "ArchivePlace"]

_NAMES_BUCKETS = "8.2.0"
_OWN_NAMES = (8, 3)
"""First version of a server whose buckets mongodump writes, and mongorestore expects, under the
name of their time series: both use the version in the archive's head.
Source: mongo-tools, Version.SupportsRawData and CreateDemux."""


class ArchivePlace:
    """Destination of one archive.

    Args:
        path: the file, which is replaced when the archive is complete; `-` for standard output.
        level: of gzip; None does not compress.
        mode: the permissions of the file.
    """

    def __init__(self, path: str, level: int | None, mode: int) -> None:
        self._path = path
        self.can_repeat = path != STREAM
        self.layout = None
        self.resumable = None
        self._volume = Volume(Path(path).absolute().parent, mode)
        self._level = level

    @property
    def notes(self) -> list[str]:
        """The guarantees that its file system does not give."""
        return self._volume.notes

    def known_bounds(self) -> None:
        """Return None: an archive may be cut anywhere."""

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> ArchiveWriter:  # noqa: ARG002
        """Start the archive, and write its head.

        Raises:
            StorageError: the file cannot be written.
        """
        return ArchiveWriter(self._path, catalog, workers, self._level, self._volume)


class ArchiveWriter:
    """Writer of an archive, which gets its name in `commit`."""

    encoding = Encoding.ARCHIVE

    def __init__(
        self, path: str, catalog: Catalog, workers: int, level: int | None, volume: Volume
    ) -> None:
        self._volume = volume
        self.path = Path(path) if path == STREAM else Path(path).absolute()
        self.level = level
        self._partial = (
            None if path == STREAM else self.path.with_name(f".{self.path.name}.partial")
        )
        self._collections = {found.namespace: found for found in catalog.collections}
        self._done = Counter[Namespace]()
        self._blocks: defaultdict[Namespace, list[ArchivedBlock]] = defaultdict(list)
        self._parts: defaultdict[Namespace, list[Part]] = defaultdict(list)
        self._lock: Lock | None = None
        self._descriptor = -1
        self._shared: SharedOutput | None = None
        try:
            with disk(self.path):
                self._descriptor = self._open()
                turns = Turns(os.memfd_create("turns"))
            self._shared = SharedOutput(self._descriptor, self.path, turns)
            # Each worker may have a collection open, and one more may be half done.
            self._write(_prelude(catalog, workers + 1))
        except BaseException:
            self.abort()
            raise

    @property
    def name(self) -> str:
        """The name of the finished backup."""
        return "of standard output" if self._partial is None else self.path.name

    @property
    def outputs(self) -> SharedOutput:
        """The output that all workers write to."""
        assert self._shared is not None  # noqa: S101 - until it is closed
        return self._shared

    def add(self, chunk: Chunk, part: Part) -> None:
        """Record a finished chunk; after a collection's last one, write the collection's end."""
        namespace = chunk.namespace
        self._parts[namespace].append(part)
        self._blocks[namespace] += part.blocks
        self._done[namespace] += 1
        if self._done[namespace] == chunk.chunks:
            found = sorted(self._blocks.pop(namespace), key=lambda block: block.place)
            crc = archive.combined((block.crc, block.raw_bytes) for block in found)
            self._write(archive.end(chunk.target, crc))

    def leave_out(self, namespace: Namespace) -> None:
        """Fail, because documents cannot be removed from a stream.

        Raises:
            ServerError: always.
        """
        raise ServerError(
            f"{namespace} was dropped while it was read, and its documents cannot be removed from "
            "an archive again; run the same command again"
        )

    def parts(self, namespace: Namespace) -> Sequence[Part]:
        """Return the parts of a collection that were recorded."""
        return self._parts[namespace]

    def report(self, namespace: Namespace) -> CollectionReport:
        """Return the sums of a collection's parts."""
        kind = self._collections[namespace].kind
        return CollectionReport.of_written(namespace, kind, self._parts[namespace])

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: Consistency
    ) -> None:
        """Sync the file, then give it its name. A stream ended with its last collection."""
        del started, ended, consistency  # the format has no fields for them
        for found in catalog.collections:
            if found.kind is CollectionKind.VIEW:
                # A view has no documents, but mongorestore waits for its end too.
                self._write(archive.end(found.namespace, 0))
        if self._partial is not None:
            with disk(self.path):
                self._volume.set_mode(self._partial)
                self._volume.sync(self._partial)
                self._partial.rename(self.path)
                self._volume.sync(self.path.parent)

    def forget(self) -> None:
        """Do nothing: an unfinished archive is never kept."""

    def abort(self) -> None:
        """Remove the unfinished archive; an older file of the same name stays unchanged."""
        if self._partial is not None and self._lock is not None:
            with disk(self.path):
                self._partial.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the output and its lock."""
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
            assert sys.__stdout__ is not None  # noqa: S101 - what prints may be redirected
            return sys.__stdout__.fileno()
        self._volume.make_folder(self.path.parent)
        self._lock = Lock(self.path.with_name(f".{self.path.name}.lock"), self.path, self._volume)
        self._partial.unlink(missing_ok=True)
        return private(str(self._partial), os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def _write(self, data: bytes) -> None:
        with disk(self.path):
            self.outputs.write(
                data if self.level is None else gzip.pack(Batch(data, 0), self.level)
            )


def _prelude(catalog: Catalog, concurrent: int) -> bytes:
    version = catalog.server.version
    has_series = any(one.kind is CollectionKind.TIMESERIES for one in catalog.collections)
    if has_series and _version(version) >= _OWN_NAMES:
        version = _NAMES_BUCKETS  # our blocks name buckets as this version does, for every server
    return archive.prelude(
        concurrent,
        version,
        f"fastdump {__version__}",
        [_described(found) for found in catalog.collections],
    )


def _version(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; empty if the text has none."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def _described(collection: Collection) -> Described:
    # The oplog, and the users and roles of a database, have documents but no definition.
    is_bare = collection.name.startswith("$") or collection.namespace == OPLOG
    if is_bare:
        return Described(collection.namespace, b"", collection.kind)
    text = metadata.describe(collection)
    exact = (collection.options, *collection.indexes)
    return Described(collection.namespace, text, collection.kind, exact)


class Archive:
    """Source that reads an archive once.

    Args:
        path: the file; `-` for standard input.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.can_repeat = path != STREAM
        self._file = self._opened(path)
        start = self._file.peek(len(archive.MAGIC))  # type: ignore[attr-defined]
        check_start(self.path, start)
        self._compressed = start[:2] == gzip.MAGIC[:2]
        pieces = gzip.inflated(self._file) if self._compressed else _pieces(self._file)
        self._reader = archive.Reader(pieces)

    @classmethod
    def recognised(cls, path: Path) -> bool:
        """Return True if a file begins like an archive.

        Raises:
            BackupDamagedError: the archive was changed on its way into the file.
            StorageError: the file cannot be read.
        """
        with disk(path), path.open("rb") as file:
            start = file.read(START_BYTES)
            check_start(path, start)
            start = start[: len(archive.MAGIC)]
            if start[:2] == gzip.MAGIC[:2]:
                file.seek(0)
                try:
                    start = next(gzip.inflated(file), b"")[: len(archive.MAGIC)]
                except FormatError:
                    return False
            return start == archive.MAGIC

    def find(self, name: str | None) -> Backup:  # noqa: ARG002 - there is only one
        """Read the head of the archive, and return its description as a backup.

        Raises:
            BackupDamagedError: this is not an archive, or its head is damaged.
            StorageError: the archive cannot be read.
        """
        with disk(self.path), damaged(self.path):
            prelude = self._reader.prelude()
            collections = tuple(self._collections(prelude.collections))
        return Backup(
            name="of standard input" if str(self.path) == STREAM else self.path.name,
            path=self.path,
            taken=datetime.now(),
            made=datetime.now(UTC),
            collections=collections,
            has_manifest=True,
            layout="archive",
            databases=tuple(sorted({found.namespace.database for found in collections} - {""})),
            oplog=next((found for found in collections if found.namespace == OPLOG), None),
            server_version=prelude.server_version,
        )

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """Return the collections that a restore brings back, and notes for the user."""
        return [found for found in backup.collections if found.namespace != OPLOG], []

    def damaged_definitions(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """Return nothing: damage is found when definitions are read."""
        return []

    def problems(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """Return nothing: an archive has no manifest to compare with."""
        return []

    @property
    def reader(self) -> FileReader:
        """The reader of its files."""
        return FileReader()

    @property
    def stream(self) -> Archive:
        """This archive."""
        return self

    def again(self) -> Archive:
        """Open the archive again, at its beginning."""
        return Archive(str(self.path))

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of the documents in bytes; 0 for a stream, if unknown."""
        if str(self.path) == STREAM:
            return 0
        size = self.path.stat().st_size
        return size * gzip.USUAL_RATIO if self._compressed else size

    def blocks(self, backup: Backup) -> Iterator[Block | End]:
        """Yield all documents, and the end of each namespace.

        Namespaces are those of the data: buckets are always called `system.buckets.X`, even if the
        archive uses the name of the time series.

        Raises:
            BackupDamagedError: the archive is cut or damaged; everything before that was yielded.
            StorageError: the archive cannot be read.
        """
        has_own_names = _version(backup.server_version or "") >= _OWN_NAMES
        names = {
            found.namespace if has_own_names else found.data: found.data
            for found in backup.collections
        }
        with disk(self.path), damaged(self.path):
            for event in self._reader.blocks(names):
                yield event._replace(namespace=names[event.namespace])

    def _collections(self, described: Iterable[Described]) -> Iterator[StoredCollection]:
        for namespace, text, kind, exact in described:
            found = metadata.read(text)
            options, *indexes = exact or (found.options, *found.indexes)
            yield StoredCollection(
                namespace,
                CollectionKind.TIMESERIES if kind == "timeseries" else found.kind,
                options=options,
                indexes=tuple(indexes),
                uuid=found.uuid,
            )

    def _opened(self, path: str) -> BinaryIO:
        if path == STREAM:
            return sys.stdin.buffer
        if not self.path.is_file():
            raise BackupNotFoundError(f"{path}: there is no such file")
        with disk(self.path):
            return self.path.open("rb")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(gzip.STREAM_BYTES):
        yield piece
