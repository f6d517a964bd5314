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

from fastdump.model import Catalog, Chunk, ClusterTime, Part
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
            self._write(planned)

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

    def _write(self, entry: Planned | Finished) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")
        self._file.flush()


def read_journal(folder: Path) -> tuple[Planned, Sequence[Finished]] | None:
    """What a journal says, as far as it is readable; None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        first, *others = (folder / JOURNAL).read_bytes().splitlines()
        planned = msgspec.json.decode(first, type=Planned)
    except (FileNotFoundError, ValueError):
        return None
    finished = []
    for line in others:
        try:
            entry = msgspec.json.decode(line, type=Finished)
        except ValueError:
            break  # the last line of a killed run
        if 0 <= entry.chunk < len(planned.chunks):
            finished.append(entry)
    return planned, finished
