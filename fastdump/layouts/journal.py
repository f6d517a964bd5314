"""What a backup in the making has done so far, for a run that goes on where it ended.

Lines of JSON in its hidden folder: first what was planned, then each part as it was finished. None
of it is synced: what a crash of the machine loses of it is read again, and every part is compared
with its digest before it is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from fastdump.model import Catalog, Chunk, ChunkSource, ClusterTime, Namespace, Part, Range
from fastdump.storage.volume import private

__all__ = ["JOURNAL", "Finished", "Journal", "Planned", "read_journal"]

JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Planned:
    """What a backup set out to do."""

    settings: str
    """What it was told; another run goes on only if that is the same."""
    started: datetime
    catalog: Catalog
    chunks: tuple[Chunk, ...]
    at: ClusterTime | None = None
    """From when on the history of the server is needed, if it is."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A chunk that is written."""

    chunk: int
    """Its place among those that were planned."""
    part: Part


@dataclass(frozen=True, slots=True)
class _ChunkLine:
    """A chunk as the journal has it: without anything nested.

    The names are part of the file's format, so that a run of one version can go on where a run of
    another version ended.
    """

    namespace: Namespace
    source: Namespace
    number: int
    chunks: int
    raw_bytes: int
    document_bytes: int
    lower: bytes | None
    upper: bytes | None
    after: int | None
    until: int | None
    query: bytes | None
    by_filter: bool
    is_of_view: bool
    committed: bool
    at: ClusterTime | None
    uuid: str | None

    @classmethod
    def of(cls, chunk: Chunk) -> _ChunkLine:
        """Return the line of a chunk."""
        source, part = chunk.source, chunk.range
        return cls(
            chunk.namespace, source.namespace, chunk.number, chunk.chunks, chunk.raw_bytes,
            source.document_bytes, part.lower, part.upper, part.after, part.until, source.query,
            source.by_filter, source.is_view, source.committed, source.at, source.uuid,
        )  # fmt: skip

    @property
    def chunk(self) -> Chunk:
        """The chunk that this describes."""
        source = ChunkSource(
            self.source, self.document_bytes, self.query, self.by_filter, self.is_of_view,
            self.committed, self.at, self.uuid,
        )  # fmt: skip
        part = Range(self.after, self.until, self.lower, self.upper)
        return Chunk(self.namespace, source, part, self.number, self.chunks, self.raw_bytes)


@dataclass(frozen=True, slots=True)
class _PlannedLine:
    """The first line of a journal."""

    settings: str
    started: datetime
    catalog: Catalog
    chunks: tuple[_ChunkLine, ...]
    at: ClusterTime | None = None


class Journal:
    """The journal of a backup, open to be written.

    Args:
        folder: the hidden folder.
        planned: what is to be done; it is written if the journal is new.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, planned: Planned) -> None:
        self.path = folder / JOURNAL
        is_new = not self.path.exists()
        self._places = {chunk: place for place, chunk in enumerate(planned.chunks)}
        self._file = open(self.path, "ab", opener=private)  # noqa: SIM115 - kept open
        if is_new:
            lines = tuple(_ChunkLine.of(chunk) for chunk in planned.chunks)
            self._write(
                _PlannedLine(planned.settings, planned.started, planned.catalog, lines, planned.at)
            )

    def add(self, chunk: Chunk, part: Part) -> None:
        """Note that a chunk is written, if it was planned: the oplog is kept anew by every run.

        Raises:
            OSError: it cannot be.
        """
        if chunk in self._places:
            self._write(Finished(self._places[chunk], part))

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def remove(self) -> None:
        """The backup is whole: nobody needs it any more.

        Raises:
            OSError: it cannot be removed.
        """
        self.close()
        self.path.unlink()

    def _write(self, entry: _PlannedLine | Finished) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()


def read_journal(folder: Path) -> tuple[Planned, Sequence[Finished]] | None:
    """What a journal says, as far as it is readable; None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        first, *others = (folder / JOURNAL).read_bytes().splitlines()
        line = msgspec.json.decode(first, type=_PlannedLine)
    except (FileNotFoundError, ValueError):
        return None
    chunks = tuple(one.chunk for one in line.chunks)
    planned = Planned(line.settings, line.started, line.catalog, chunks, line.at)
    finished = []
    for other in others:
        try:
            entry = msgspec.json.decode(other, type=Finished)
        except ValueError:
            break  # the last line of a killed run
        if 0 <= entry.chunk < len(planned.chunks):
            finished.append(entry)
    return planned, finished
