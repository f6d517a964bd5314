"""The journal of an unfinished backup, from which a later run can continue it.

It is a file of lines in the hidden folder: first the plan, then each finished part, as JSON after a
digest of it. The file is not synced: parts whose lines a crash of the machine loses or damages are
read again, and every part is compared with its digest before it is used. Another version of
fastdump may write the plan in another form; then the backup begins again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from blake3 import blake3

from fastdump.model import Catalog, Chunk, ClusterTime, Part
from fastdump.storage.volume import private

__all__ = ["JOURNAL", "Finished", "Journal", "Planned", "read_journal"]

JOURNAL = "journal"

_DIGEST_BYTES = 8

T = TypeVar("T")


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
            self._write(planned)
        else:
            self._file.write(b"\n")  # the last line of a killed run may be torn

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

    def _write(self, entry: Planned | Finished) -> None:
        text = msgspec.json.encode(entry)
        self._file.write(b"%b %b\n" % (_digest(text), text))
        self._file.flush()


def read_journal(folder: Path) -> tuple[Planned, Sequence[Finished]] | None:
    """Return the plan and the readable entries of a journal; None if there is no journal.

    Raises:
        OSError: the journal cannot be read.
    """
    try:
        content = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        return None
    first, *others = content.splitlines() or [b""]
    planned = _read(first, Planned)
    if planned is None:
        return None
    read = (_read(line, Finished) for line in others)
    return planned, [
        one for one in read if one is not None and 0 <= one.chunk < len(planned.chunks)
    ]


def _read(line: bytes, kind: type[T]) -> T | None:
    """Return the entry of a line; None if the line is damaged or torn."""
    digest, _space, text = line.partition(b" ")
    if digest != _digest(text):
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except ValueError:
        return None


def _digest(text: bytes) -> bytes:
    return blake3(text).hexdigest(_DIGEST_BYTES).encode()
