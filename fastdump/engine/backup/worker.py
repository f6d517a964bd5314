"""The part of a backup that runs in the workers: fetch a chunk, pack it, write it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from fastdump.codec.bson import Batch
from fastdump.engine.backup.packing import packer
from fastdump.engine.backup.view_ids import ViewLook
from fastdump.engine.server_worker import ServerWorker
from fastdump.engine.sessions.plain import Session
from fastdump.errors import ChunkLostError, CollectionChangedError
from fastdump.layouts.interface import BackupWriter
from fastdump.model import Chunk, Part

__all__ = ["BackupWorker"]

_RESTARTS = 3
"""Number of times a chunk is read again from its beginning, when it cannot be continued."""


class BackupWorker(ServerWorker):
    """Worker that fetches chunks and writes them."""

    def __init__(
        self,
        session: Session,
        writer: BackupWriter,
        level: int,
        *,
        fetch_ahead: bool,
        max_rate: float | None,
    ) -> None:
        super().__init__(*session.readers, clock=session.clock, max_rate=max_rate)
        self._outputs = writer.outputs
        self._encoding = writer.encoding
        self._level = level if writer.compressed else None
        self._fetch_ahead = fetch_ahead

    def fetch(self, chunk: Chunk) -> Part | None:
        """Fetch the documents of a chunk and write them.

        Returns:
            The part that was written; None if the collection was dropped, renamed or changed, so
            that the chunk can no longer be read as planned.

        Raises:
            ServerError: the server cannot be reached or refuses.
            StorageError: the disk refuses.
        """
        try:
            return self._repeated(chunk)
        except CollectionChangedError:
            return None

    def _repeated(self, chunk: Chunk) -> Part:
        for _attempt in range(_RESTARTS if self._outputs.can_restart else 0):
            try:
                return self._fetch(chunk)
            except ChunkLostError:
                if self.progress is not None:
                    self.progress.begin()
        return self._fetch(chunk)

    def _fetch(self, chunk: Chunk) -> Part:
        began, interruptions = time.monotonic(), self.interruptions
        packing = packer(self._encoding, self._level, chunk)
        places = []
        with ExitStack() as held:
            look = held.enter_context(ViewLook(chunk.namespace)) if chunk.source.is_view else None
            output = held.enter_context(self._outputs.opened(chunk))
            for batch in self._at_least_one(chunk):
                places.append(output.write(packing.pack(batch), batch.documents))
                if look is not None:
                    look.add(batch)
                self.done(batch.documents, len(batch.data))
            ids = None if look is None else look.end()
            part = output.end(packing.part(time.monotonic() - began, places))
        return replace(part, ids=ids, interruptions=self.interruptions - interruptions)

    def _at_least_one(self, chunk: Chunk) -> Iterator[Batch]:
        """Yield the chunk's batches; one empty batch if there are none, for a valid gzip file."""
        empty = True
        for batch in self.batches(chunk, fetch_ahead=self._fetch_ahead):
            empty = False
            yield batch
        if empty:
            yield Batch(b"", 0)
