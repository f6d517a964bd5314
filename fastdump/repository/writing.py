"""Writing a backup into a repository: only those pieces that it has not, then the manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from threading import BoundedSemaphore
from typing import ClassVar, Protocol

from fastdump.codec import frames
from fastdump.codec.bson import Batch
from fastdump.errors import StorageError
from fastdump.layouts.journal import Finished, Planned
from fastdump.layouts.manifest import Manifest
from fastdump.model import (
    Bounds,
    Catalog,
    Chunk,
    CollectionKind,
    Compression,
    Consistency,
    Encoding,
    Namespace,
    Part,
    Piece,
)
from fastdump.report import CollectionReport
from fastdump.repository import manifests
from fastdump.repository.envelope import Envelope
from fastdump.repository.leases import REKEY, SWEEP, Lease
from fastdump.repository.pieces import Cutter, key_of, name_of
from fastdump.repository.reading import names_there
from fastdump.storage.interface import Storage

__all__ = ["PieceOutputs", "RepositoryWriter", "Seal"]

_THREADS = 2
_IN_FLIGHT = 3
"""Largest number of pieces of a worker that wait or are being put, which bounds its memory."""


class Seal(Protocol):
    """What makes the object of a manifest, encrypted or not."""

    @property
    def key(self) -> bytes | None:
        """The key of the names of pieces, if it must be in the manifest."""

    @property
    def generation(self) -> str:
        """The generation of the repository that the key is of."""

    def see_current(self, storage: Storage) -> None:
        """See that the repository was not encrypted for others since.

        Raises:
            StorageError: it was, or the storage cannot be read.
        """

    def close(self, found: Manifest) -> bytes:
        """Return the manifest as an object."""

    def remember(self, cuts: Mapping[Namespace, Bounds]) -> None:
        """Remember where collections were cut, if the next backup cannot read the manifest."""


class PieceOutputs:
    """The place where workers put the pieces of chunks; it travels to their processes.

    Args:
        storage: that of the repository.
        key: that of the names of its pieces.
        known: the pieces that need not be written, each with its size.
        envelope: how pieces are encrypted.
        compression: that of new pieces.
    """

    can_restart: ClassVar[bool] = True
    takes_many: ClassVar[bool] = False

    def __init__(
        self,
        storage: Storage,
        key: bytes,
        known: Mapping[bytes, int],
        envelope: Envelope,
        compression: Compression,
    ) -> None:
        self._storage = storage
        self._key = key
        self._known = dict(known)
        self._envelope = envelope
        self._compression = compression

    @contextmanager
    def opened(self, chunk: Chunk) -> Iterator[PieceOutput]:  # noqa: ARG002 - one is as another
        """Give what makes pieces of a chunk."""
        with ThreadPoolExecutor(_THREADS, "fastdump-put") as putting:
            try:
                yield PieceOutput(self, putting)
            except BaseException:
                putting.shutdown(cancel_futures=True)
                raise

    def store(self, batches: Sequence[Batch]) -> Piece:
        """Put a piece, unless it is there.

        Raises:
            StorageError: it cannot be put.
        """
        name = name_of(batches, self._key)
        size, is_new = self._known.get(name), False
        if size is None:
            data = self._envelope.close(frames.pack(batches, self._compression))
            is_new = self._storage.put_new(key_of(name), data)
            size = self._known[name] = len(data)
        documents = sum(batch.documents for batch in batches)
        return Piece(name, documents, sum(len(one.data) for one in batches), size, is_new)


class PieceOutput:
    """Makes pieces of the documents of one chunk, and has threads compress and put them.

    Args:
        outputs: where they go.
        putting: the threads.
    """

    def __init__(self, outputs: PieceOutputs, putting: ThreadPoolExecutor) -> None:
        self._outputs = outputs
        self._putting = putting
        self._cutter = Cutter()
        self._slots = BoundedSemaphore(_IN_FLIGHT)
        self._pieces: list[Future[Piece]] = []

    def write(self, data: bytes, documents: int = 0) -> int:
        """Take some documents."""
        for piece in self._cutter.add(Batch(data, documents)):
            self._put(piece)
        return 0

    def end(self, part: Part) -> Part:
        """Wait until everything is put, and return the part with its pieces."""
        if last := self._cutter.end():
            self._put(last)
        pieces = tuple(piece.result() for piece in self._pieces)
        return replace(part, pieces=pieces, file_bytes=sum(one.file_bytes for one in pieces))

    def _put(self, batches: Sequence[Batch]) -> None:
        for done in self._pieces:
            if done.done():
                done.result()  # what cannot be put is said at once
        self._slots.acquire()

        def put() -> Piece:
            try:
                return self._outputs.store(batches)
            finally:
                self._slots.release()

        self._pieces.append(self._putting.submit(put))


class RepositoryWriter:
    """A backup in the making: its pieces are there, but nobody knows them before its manifest is.

    Args:
        storage: that of the repository.
        outputs: where workers put pieces.
        lease: keeps these from being swept; it is released at the end.
        name: that of the backup.
        catalog: what is backed up.
        seal: makes the object of a manifest, and remembers what the next backup must know.
    """

    encoding = Encoding.PIECES
    level: int | None = None

    def __init__(
        self,
        storage: Storage,
        outputs: PieceOutputs,
        lease: Lease,
        name: str,
        catalog: Catalog,
        seal: Seal,
    ) -> None:
        self._storage = storage
        self._seal = seal
        self._kinds = {one.namespace: one.kind for one in catalog.collections}
        self._lease = lease
        self.name = name
        self.outputs = outputs
        self._parts: defaultdict[Namespace, dict[int, tuple[Chunk, Part]]] = defaultdict(dict)

    @property
    def path(self) -> str:
        """The address of its manifest."""
        return f"{self._storage.shown}/{self._manifest}"

    @property
    def _manifest(self) -> str:
        return f"{manifests.BACKUPS}/{self.name}"

    def add(self, chunk: Chunk, part: Part) -> None:
        """Take over a finished chunk."""
        self._parts[chunk.namespace][chunk.number] = chunk, part

    def leave_out(self, namespace: Namespace) -> None:
        """Leave out what was put of a collection."""
        self._parts.pop(namespace, None)

    def parts(self, namespace: Namespace) -> Sequence[Part]:
        """Return the parts of a collection, in their order."""
        return [part for _number, (_chunk, part) in sorted(self._parts[namespace].items())]

    def report(self, namespace: Namespace) -> CollectionReport:
        """Return the sums of a collection's parts."""
        kind = self._kinds.get(namespace, CollectionKind.COLLECTION)  # the oplog is in no catalog
        return CollectionReport.of_written(namespace, kind, self.parts(namespace))

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: Consistency
    ) -> None:
        """Put the manifest, when every piece that it names is there.

        Raises:
            StorageError: the storage refuses, or a piece is gone; there is no manifest then.
        """
        parts = {name: self.parts(name) for name in list(self._parts)}
        cuts = self._cuts()
        found = manifests.written(
            catalog,
            started,
            ended,
            consistency,
            parts,
            cuts,
            self._seal.key,
            self._seal.generation,
        )
        named = {piece.name for found in parts.values() for one in found for piece in one.pieces}
        self._see_there(named)
        if not self._storage.put_new(self._manifest, self._seal.close(found)):
            raise StorageError(f"{self.path} is there already; run the same command again")
        self._lease.refresh()
        if self._lease.has_lapsed:
            self._see_again(named)
        self._seal.remember(cuts)

    def _see_there(self, named: set[bytes]) -> None:
        if gone := named - names_there(self._storage).keys():
            raise StorageError(
                f"{self._storage.shown}: {len(gone)} pieces that this backup needs were removed "
                "while it was made; run the same command again"
            )

    def _see_again(self, named: set[bytes]) -> None:
        """See that nobody took this backup for dead, as that of a machine that slept.

        Somebody may have swept since, or encrypted the repository for others.
        """
        try:
            self._lease.wait_for(SWEEP)
            self._lease.wait_for(REKEY)
            self._seal.see_current(self._storage)
            self._see_there(named)
        except BaseException:
            self._storage.delete(self._manifest)
            raise

    def _cuts(self) -> dict[Namespace, Bounds]:
        chunks = {
            name: [chunk for _number, (chunk, _part) in sorted(found.items())]
            for name, found in self._parts.items()
        }
        return {name: manifests.cut_before(found) for name, found in chunks.items()}

    def keep_journal(self, planned: Planned) -> None:
        """Do nothing: what is put is found again by its name."""

    def resume(self, planned: Planned, finished: Sequence[Finished]) -> set[Chunk]:  # noqa: ARG002
        """Return nothing: what is put is found again by its name."""
        return set()

    def forget(self) -> None:
        """Do nothing: no other run goes on with it."""

    def abort(self) -> None:
        """Give it up. What was put stays for the next backup, until it is swept."""
        self.close()

    def close(self) -> None:
        """Let others sweep."""
        self._lease.release()
