"""One backup at a time into one place."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from fastdump.errors import StorageError
from fastdump.storage.disk_errors import disk
from fastdump.storage.volume import Volume, private

__all__ = ["PRUNING", "WRITING", "Lock"]

WRITING, PRUNING = "backup", "prune"
_BUSY = {
    WRITING: "another backup is being written there",
    PRUNING: "old backups are being removed there",
}


class Lock:
    """A file that is locked as long as the process lives that made it.

    The kernel lets go of the lock however the process ends, so that none is ever stale; what the
    file says of its owner is for people.

    Args:
        path: the file, which is there only while it is locked.
        place: what is locked, for messages.
        volume: the file system that it is on, which may know no locks.
        doing: what its owner does, one of `WRITING` and `PRUNING`.

    Raises:
        StorageError: another process has it, or the file cannot be written.
    """

    def __init__(self, path: Path, place: Path, volume: Volume, doing: str = WRITING) -> None:
        self._path = path
        self._volume = volume
        with disk(path):
            self._descriptor = self._take(place)
        with suppress(OSError):  # on a full disk it is locked all the same
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()} {time.time():.0f} {doing}\n".encode())

    def release(self) -> None:
        """Let others in; to do it again does nothing."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self, place: Path) -> int:
        while True:
            descriptor = private(str(self._path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            try:
                self._volume.lock(descriptor)
                if self._is_current(descriptor):
                    return descriptor
                os.close(descriptor)  # its owner removed it between our two steps
            except BlockingIOError:
                owner = os.pread(descriptor, 100, 0).decode(errors="replace").split()
                os.close(descriptor)
                raise StorageError(f"{place}: {_busy(owner)}") from None
            except BaseException:
                os.close(descriptor)
                raise

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False


def _busy(owner: list[str]) -> str:
    match owner:
        case [pid, since, doing] if pid.isdecimal() and since.isdecimal() and doing in _BUSY:
            seconds = max(0, time.time() - int(since))
            return f"{_BUSY[doing]}, by process {pid} for {seconds:.0f} s; wait for it, or end it"
    return f"{_BUSY[WRITING]}; wait for it, or end it"
