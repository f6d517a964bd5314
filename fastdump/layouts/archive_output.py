"""The output of an archive, which several processes take turns to write to."""

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
"""From when on it is said that the output took nothing. By default, a server keeps the cursors of
an idle session for half an hour, others for ten minutes, and the history of a snapshot for five."""

STREAM = "-"
"""What standard input and output are called."""


class Turns:
    """Turns that processes take, one after another, counted.

    They lock a file without a name, of which the kernel lets go when a process is killed, as it
    does not of a semaphore. The file holds how many turns were taken.

    Args:
        descriptor: of the file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._threads = threading.Lock()  # the other is held by the process as a whole

    @contextmanager
    def next(self) -> Iterator[int]:
        """Wait for a turn; gives its number, from 1."""
        with self._threads:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            try:
                number = int.from_bytes(os.pread(self.descriptor, 8, 0), "little") + 1
                os.pwrite(self.descriptor, number.to_bytes(8, "little"), 0)
                yield number
            finally:
                fcntl.lockf(self.descriptor, fcntl.LOCK_UN)


class SharedOutput:
    """A file or pipe that several processes write to, one block after another."""

    can_restart: ClassVar[bool] = False

    def __init__(self, descriptor: int, path: Path, turns: Turns) -> None:
        self._descriptor = descriptor
        self._path = path
        self._turns = turns
        self._stalled = 0.0
        """For how many seconds it took nothing, at most."""

    def __reduce__(self) -> tuple[object, ...]:
        # Works only while a process is being started, which is when it is needed.
        return _attached, (
            reduction.DupFd(self._descriptor),
            self._path,
            reduction.DupFd(self._turns.descriptor),
        )

    @contextmanager
    def opened(self, chunk: Chunk) -> Iterator[SharedOutput]:  # noqa: ARG002 - one output for all
        """Itself: it is open all the time."""
        with disk(self._path), self._explained():
            yield self

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Name a reader that took nothing for so long that the server forgot what it was asked."""
        try:
            yield
        except ServerError as error:
            if self._stalled < _STALL_SECONDS:
                raise
            shown = "standard output" if str(self._path) == STREAM else self._path
            raise type(error)(
                f"{error}; {shown} took nothing for {self._stalled:.0f} s, and a server keeps "
                "what is read for some minutes only: write into a file first, or to what reads "
                "faster"
            ) from None

    def write(self, data: bytes, documents: int = 0) -> int:  # noqa: ARG002 - they are in it
        """Write a whole block; returns its place among all."""
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
        """Take no more turns."""
        os.close(self._turns.descriptor)


class _Duplicate(Protocol):
    def detach(self) -> int:
        """The descriptor, in the process that it was sent to."""


def _attached(output: _Duplicate, path: Path, turns: _Duplicate) -> SharedOutput:
    return SharedOutput(output.detach(), path, Turns(turns.detach()))
