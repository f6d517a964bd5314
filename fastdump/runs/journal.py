"""The journal of runs beside the backups of a place, as lines of a file or as objects.

A folder of dated backups has a file with a line of JSON for each run. It is no folder, since
Komodo counts every folder there as a backup. A repository has an object for each run:

    runs/2026-08-12T03-00-01.123456Z.<id>       JSON

Neither needs a lock, however many machines share the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import msgspec

from fastdump.errors import ObjectNotFoundError
from fastdump.model import Run
from fastdump.storage.disk_errors import disk
from fastdump.storage.interface import Storage
from fastdump.storage.volume import PRIVATE, Volume, private

__all__ = ["FILE", "KEPT", "RUNS", "FileJournal", "Journal", "ObjectJournal"]

FILE = ".fastdump-runs"
"""Name of the file in a folder of dated backups."""

RUNS = "runs"
"""The folder of a repository that holds the objects."""

KEPT = 400
"""Number of runs that are kept: a year of one a day, with some verifications."""

_MESSAGE_LENGTH = 2000
"""Largest length of a message, in characters, so that a line is written in one piece."""

_THREADS = 16
_TIME_FORMAT = "%Y-%m-%dT%H-%M-%S.%f"
_RUNS = msgspec.json.Decoder(Run)


class Journal(Protocol):
    """The journal of a place."""

    def add(self, run: Run) -> None:
        """Add a run, and delete the oldest ones if there are too many.

        Raises:
            StorageError: the storage refuses.
        """

    def runs(self) -> list[Run]:
        """Return all runs, oldest first; those that are damaged are left out.

        Raises:
            StorageError: the storage cannot be read.
        """


class FileJournal:
    """The journal of a folder of dated backups.

    Args:
        folder: the folder.
        mode: the permissions of the file.
    """

    def __init__(self, folder: Path, mode: int = PRIVATE) -> None:
        self._path = folder / FILE
        self._volume = Volume(folder, mode)

    def add(self, run: Run) -> None:
        """Add a run."""
        with disk(self._path):
            is_new = not self._path.exists()
            is_cut = not is_new and not self._path.read_bytes().endswith(b"\n")
            with open(self._path, "ab", opener=private) as file:
                # A full disk cut the last line: it must not take this one with it.
                file.write(b"\n" * is_cut + _line(run))
            if is_new:
                self._volume.set_mode(self._path)
            runs = self.runs()
            if len(runs) > 2 * KEPT:  # not each time, since all are written again
                self._replace(runs[-KEPT:])

    def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        with disk(self._path):
            try:
                lines = self._path.read_bytes().splitlines()
            except FileNotFoundError:
                return []
        return _sorted(run for line in lines for run in _decoded(line))

    def _replace(self, runs: Iterable[Run]) -> None:
        partial = self._path.with_name(f"{FILE}.{uuid4().hex}")
        try:
            self._volume.write(partial, b"".join(map(_line, runs)))
            self._volume.set_mode(partial)
            partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)


class ObjectJournal:
    """The journal of a repository.

    Args:
        storage: that of the repository.
        shows_messages: False if messages are left out, because they may name what is encrypted.
    """

    def __init__(self, storage: Storage, *, shows_messages: bool) -> None:
        self._storage = storage
        self._shows_messages = shows_messages

    def add(self, run: Run) -> None:
        """Add a run."""
        kept = run if self._shows_messages else replace(run, message="")
        name = f"{run.started.astimezone(UTC):{_TIME_FORMAT}}Z.{uuid4().hex[:8]}"
        self._storage.put_new(f"{RUNS}/{name}", _line(kept))
        for key in self._keys()[:-KEPT]:
            self._storage.delete(key)

    def runs(self) -> list[Run]:
        """Return all runs, oldest first."""
        with ThreadPoolExecutor(_THREADS, "fastdump-runs") as threads:
            return _sorted(run for one in threads.map(self._read, self._keys()) for run in one)

    def _keys(self) -> list[str]:
        return sorted(entry.key for entry in self._storage.list(RUNS))

    def _read(self, key: str) -> list[Run]:
        try:
            return list(_decoded(self._storage.get(key)))
        except ObjectNotFoundError:
            return []


def _line(run: Run) -> bytes:
    short = replace(run, message=run.message[:_MESSAGE_LENGTH])
    return msgspec.json.encode(short) + b"\n"


def _decoded(line: bytes) -> Iterator[Run]:
    try:
        yield _RUNS.decode(line)
    except (msgspec.DecodeError, UnicodeError):
        return


def _sorted(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: run.started)
