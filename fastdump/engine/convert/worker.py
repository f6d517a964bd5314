"""The worker's part of a conversion: reading some documents of one backup into another."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastdump.codec.bson import Batch
from fastdump.engine.backup.packing import at_least_one, packer
from fastdump.engine.convert.planning import Piece
from fastdump.engine.executors import Progress
from fastdump.engine.grouping import Group
from fastdump.errors import BackupDamagedError
from fastdump.layouts.interface import BackupWriter, Reader
from fastdump.layouts.segments import damaged, read_lines
from fastdump.model import Encoding, Part, Segment
from fastdump.mongo import ejson

__all__ = ["ConvertWorker"]


class ConvertWorker:
    """A worker that reads pieces and writes them.

    Args:
        reader: reads the old backup.
        writer: the new backup.
    """

    def __init__(self, reader: Reader, writer: BackupWriter) -> None:
        self._reader = reader
        self._outputs = writer.outputs
        self._encoding = writer.encoding
        self._level = writer.level
        self.progress: Progress | None = None

    def convert(self, group: Group[Piece]) -> list[Part]:
        """Read the documents of pieces and write them; return the part that each became.

        Raises:
            BackupDamagedError: the old backup is damaged.
            StorageError: a disk refuses.
        """
        return [self._converted(piece) for piece in group.parts]

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _converted(self, piece: Piece) -> Part:
        began = time.monotonic()
        packing, places = packer(self._encoding, self._level, piece.chunk), list[int]()
        with self._outputs.opened(piece.chunk) as output:
            for batch in at_least_one(self._batches(piece.segment)):
                places.append(output.write(packing.pack(batch), batch.documents))
                if self.progress is not None:
                    self.progress.add(batch.documents, len(batch.data))
            return output.end(packing.part(time.monotonic() - began, places))

    def _batches(self, segment: Segment | None) -> Iterator[Batch]:
        if segment is None:
            return
        if segment.place.encoding is not Encoding.JSON:
            yield from self._reader.batches(segment.place)
            return
        with damaged(segment.place.path):
            for lines in read_lines(segment):
                batch, bad = ejson.decode(lines)
                for line in bad:
                    raise BackupDamagedError(
                        f"{segment.place.path}, line {line.number}: {line.reason}"
                    )
                yield batch
