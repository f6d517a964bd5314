"""The journal of an unfinished backup, from which a later run can continue it.

It is a file of JSON lines in the hidden folder: first the plan, then each finished part. The file
is not synced: parts that a crash of the machine loses are read again, and every part is compared
with its digest before it is used.
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
    """Plan of a backup."""

    settings: str
    """Digest of the settings; a later run continues only a backup with the same ones."""
    started: datetime
    catalog: Catalog
    chunks: tuple[Chunk, ...]
    at: ClusterTime | None = None
    """Cluster time from which on the server's history is needed, if it is."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Entry for a chunk that is written."""

    chunk: int
    """Position of the chunk in the plan."""
    part: Part


@dataclass(frozen=True, slots=True)
class _ChunkLine:
    """A chunk in the form of the journal, without nested values.

    The names are part of the file's format, so that a run of one version can continue a run of
    another version.
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
        """The chunk of this line."""
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
    """Journal of a backup, open for writing.

    Args:
        folder: the hidden folder.
        planned: the plan, which is written if the journal is new.

    Raises:
        OSError: the journal cannot be written.
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
        """Add a finished chunk, unless it is the oplog's, which every run reads from the start.

        Raises:
            OSError: the journal cannot be written.
        """
        if chunk in self._places:
            self._write(Finished(self._places[chunk], part))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Remove the journal, because the backup is complete.

        Raises:
            OSError: the journal cannot be removed.
        """
        self.close()
        self.path.unlink()

    def _write(self, entry: _PlannedLine | Finished) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()


def read_journal(folder: Path) -> tuple[Planned, Sequence[Finished]] | None:
    """Return the plan and the readable entries of a journal; None if there is no journal.

    Raises:
        OSError: the journal cannot be read.
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
