"""The output of an archive, to which several processes write in turn."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from pathlib import Path
from typing import ClassVar, Protocol

from fastdump.errors import ServerError
from fastdump.model import Chunk, Part
from fastdump.storage.disk_errors import disk

__all__ = ["STREAM", "SharedOutput", "Turns"]

_STALL_SECONDS = 30
"""Seconds without progress of the output after which an error message mentions it. By default, a
server keeps the cursors of an idle session for half an hour, other cursors for ten minutes, and the
history of a snapshot for five."""

STREAM = "-"
"""The name of standard input and standard output."""


class Turns:
    """Lock that processes take in turn, with a counter of the turns.

    The lock is on a file without a name. Unlike a semaphore, it is released by the kernel when a
    process is killed. The file contains the counter.

    Args:
        descriptor: the descriptor of the file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._threads = threading.Lock()  # the file's lock belongs to the process as a whole

    @contextmanager
    def next(self) -> Iterator[int]:
        """Wait for a turn, and return its number, counted from 1."""
        with self._threads:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                number = int.from_bytes(os.pread(self.descriptor, 8, 0), "little") + 1
                os.pwrite(self.descriptor, number.to_bytes(8, "little"), 0)
                yield number
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)


class SharedOutput:
    """File or pipe that several processes write to, one block after another."""

    can_restart: ClassVar[bool] = False
    takes_many: ClassVar[bool] = True

    def __init__(self, descriptor: int, path: Path, turns: Turns) -> None:
        self._descriptor = descriptor
        self._path = path
        self._turns = turns
        self._stalled = 0.0
        """Longest time in seconds that one write took."""

    def __reduce__(self) -> tuple[object, ...]:
        # DupFd works only while a process is being started, which is when this is needed.
        return _attached, (
            reduction.DupFd(self._descriptor),
            self._path,
            reduction.DupFd(self._turns.descriptor),
        )

    @contextmanager
    def opened(self, chunk: Chunk) -> Iterator[SharedOutput]:  # noqa: ARG002 - one output for all
        """Return this object, which is open all the time."""
        with disk(self._path), self._explained():
            yield self

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Add to a server's error that a slow reader of the output is the likely cause."""
        try:
            yield
        except ServerError as error:
            if self._stalled < _STALL_SECONDS:
                raise
            shown = "standard output" if str(self._path) == STREAM else self._path
            raise type(error)(
                f"{error}; {shown} accepted no data for {self._stalled:.0f} s, and a server keeps "
                "cursors and snapshots only for some minutes: write to a file first, or use a "
                "faster reader"
            ) from None

    def write(self, data: bytes, documents: int = 0) -> int:  # noqa: ARG002 - they are in it
        """Write a whole block, and return its position among all blocks."""
        left, began = memoryview(data), time.monotonic()
        with self._turns.next() as place:
            while left:
                left = left[os.write(self._descriptor, left) :]
        self._stalled = max(self._stalled, time.monotonic() - began)
        return place

    def end(self, part: Part) -> Part:
        """Return the part: nothing was held back."""
        return part

    def close(self) -> None:
        """Close the file of the turns."""
        os.close(self._turns.descriptor)


class _Duplicate(Protocol):
    def detach(self) -> int:
        """Return the descriptor in the receiving process."""


def _attached(output: _Duplicate, path: Path, turns: _Duplicate) -> SharedOutput:
    return SharedOutput(output.detach(), path, Turns(turns.detach()))
