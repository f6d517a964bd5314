"""The part of a backup that runs in the workers: fetch a chunk, pack it, write it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace

from fastdump.engine.backup.packing import Packer, at_least_one, packer
from fastdump.engine.backup.view_ids import ViewLook
from fastdump.engine.grouping import Group
from fastdump.engine.server_worker import ServerWorker
from fastdump.engine.sessions.plain import Session
from fastdump.errors import ChunkLostError, CollectionChangedError
from fastdump.layouts.interface import BackupWriter
from fastdump.model import Chunk, Part

__all__ = ["BackupWorker"]

_RESTARTS = 3
"""Number of times a chunk is read again from its beginning, when it cannot be continued."""


class BackupWorker(ServerWorker):
    """Worker that fetches chunks and writes them.

    Args:
        session: the way the server is read.
        writer: the backup.
        at_once: the number of chunks to fetch at the same time.
        fetch_ahead: True to fetch a batch while the last one is being packed.
        max_rate: the highest speed of reading, in bytes of documents a second; None for no limit.
    """

    def __init__(
        self,
        session: Session,
        writer: BackupWriter,
        *,
        at_once: int,
        fetch_ahead: bool,
        max_rate: float | None,
    ) -> None:
        super().__init__(*session.readers, clock=session.clock, max_rate=max_rate)
        self._outputs = writer.outputs
        self._encoding = writer.encoding
        self._level = writer.level
        self._at_once = at_once
        self._fetch_ahead = fetch_ahead

    def fetch(self, group: Group[Chunk]) -> list[Part | None]:
        """Fetch the documents of chunks and write them.

        Returns:
            The part that was written of each chunk; None if its collection was dropped, renamed or
            changed, so that the chunk can no longer be read as planned.

        Raises:
            ServerError: the server cannot be reached or refuses.
            StorageError: the disk refuses.
        """
        return self.each(self._fetch_if_there, group.parts, self._at_once)

    def _fetch_if_there(self, chunk: Chunk) -> Part | None:
        try:
            return self._repeated(chunk)
        except CollectionChangedError:
            return None

    def _repeated(self, chunk: Chunk) -> Part:
        for _attempt in range(_RESTARTS if self._outputs.can_restart else 0):
            packing = packer(self._encoding, self._level, chunk)
            try:
                return self._fetch(chunk, packing)
            except ChunkLostError:
                lost = packing.part(0, ())
                self.done(-lost.documents, -lost.raw_bytes)
        return self._fetch(chunk, packer(self._encoding, self._level, chunk))

    def _fetch(self, chunk: Chunk, packing: Packer) -> Part:
        began = time.monotonic()
        interruptions: list[Exception] = []
        places = []
        with ExitStack() as held:
            look = held.enter_context(ViewLook(chunk.namespace)) if chunk.source.is_view else None
            output = held.enter_context(self._outputs.opened(chunk))
            # Not held by a name: an interrupt then closes the cursor as soon as it leaves the loop.
            for batch in at_least_one(
                self.batches(chunk, interruptions.append, fetch_ahead=self._fetch_ahead)
            ):
                places.append(output.write(packing.pack(batch), batch.documents))
                if look is not None:
                    look.add(batch)
                self.done(batch.documents, len(batch.data))
            ids = None if look is None else look.end()
            part = output.end(packing.part(time.monotonic() - began, places))
        return replace(part, ids=ids, interruptions=len(interruptions))
