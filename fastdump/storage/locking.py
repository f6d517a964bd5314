"""Lock a place, so that only one backup at a time is written there."""

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
    """Lock on a file, which lasts at most as long as the process that took it.

    The kernel releases the lock when the process ends in any way, so there are no stale locks. The
    content of the file tells people who has the lock.

    Args:
        path: the file, which exists only while it is locked.
        place: the locked place, for messages.
        volume: the file system of the place, which may not support locks.
        doing: the work of the owner, `WRITING` or `PRUNING`.

    Raises:
        StorageError: another process has the lock, or the file cannot be written.
    """

    def __init__(self, path: Path, place: Path, volume: Volume, doing: str = WRITING) -> None:
        self._path = path
        self._volume = volume
        with disk(path):
            self._descriptor = self._take(place)
        with suppress(OSError):  # on a full disk the lock still works
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()} {time.time():.0f} {doing}\n".encode())

    def release(self) -> None:
        """Release the lock; calling it again does nothing."""
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
            return (
                f"{_BUSY[doing]}, by process {pid} for {seconds:.0f} s; wait for that process, or "
                "end it"
            )
    return f"{_BUSY[WRITING]}; wait for that process, or end it"
