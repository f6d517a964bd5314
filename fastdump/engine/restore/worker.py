"""The worker's part of a restore: reading segments of files, and loading their documents."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from fastdump.engine.load.worker import LoadWorker, Target
from fastdump.errors import FormatError
from fastdump.layouts.interface import Reader
from fastdump.layouts.segments import read_lines
from fastdump.model import Encoding, Loaded, Segment
from fastdump.mongo import ejson
from fastdump.mongo.load import summed

__all__ = ["RestoreWorker"]

_NAMED = 3
"""Number of damaged places of a file that a report names."""


class RestoreWorker(LoadWorker[Segment]):
    """A worker that loads segments of the files of a backup.

    Args:
        target: where documents go, and how.
        senders: the number of batches of a segment that may be on their way at the same time.
        reader: reads the segments.
    """

    def __init__(self, target: Target, senders: int, reader: Reader) -> None:
        super().__init__(target, senders)
        self._reader = reader

    def load(self, piece: Segment) -> Loaded:
        """Load the documents of a segment.

        A file of BSON that cannot be cut is read by this worker alone, and sent by several threads.

        Raises:
            IncompleteError: a document was refused, and that is to be the end.
            ServerError: the target cannot be reached or refuses.
            StorageError: the file cannot be read.
        """
        began = time.monotonic()
        if piece.place.encoding is Encoding.JSON:
            return self._load_lines(piece, began)
        # Several workers share a file of our own, while one alone reads a foreign file.
        most = self.senders if piece.place.is_foreign else self.under_way
        senders = 1 if piece.ordered else min(most, self.senders_of(piece))
        loaders = self.loaders(piece.target, senders, is_of_collection=piece.is_of_collection)
        lost: list[str] = []
        self.send_all(loaders, self._reader.batches(piece.place, lost))
        return replace(summed(loaders, time.monotonic() - began), damage=_summary(lost))

    def _load_lines(self, segment: Segment, began: float) -> Loaded:
        """Load the documents of a file of JSON lines; lines that are no documents are counted."""
        (loader,) = loaders = self.loaders(segment.target, 1)
        damage, path = None, segment.place.path
        try:
            for lines in read_lines(segment):
                batch, bad = ejson.decode(lines)
                self.send(loader, batch)
                for line in bad:
                    loader.tally.reject(f"at line {line.number} of {path}", line.reason)
        except FormatError as error:
            # Each segment of the file meets the same damage; one of them reports it.
            if not segment.number:
                damage = f"{path}: {error}; what came before that was restored"
        return replace(summed(loaders, time.monotonic() - began), damage=damage)


def _summary(lost: Sequence[str]) -> str | None:
    """Return one sentence about the damage of a file; None if there is none."""
    if not lost:
        return None
    more = f"; and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return "; ".join(lost[:_NAMED]) + more
