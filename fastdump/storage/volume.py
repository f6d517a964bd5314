"""Getting files onto a disk for good, also where its file system refuses half of the calls.

A NAS, SMB, FUSE or vfat may not sync folders, keep permissions, lock or copy. A backup goes on
there, and what is not guaranteed is said once. Everything else that fails is an error: above all
EIO, after which nobody knows what is on the disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from fastdump.storage.litter import entries_below

__all__ = ["PRIVATE", "Volume", "private", "see_folder"]

PRIVATE = 0o600
"""The mode of files that only their owner can read: backups hold secrets."""

_COPY_BYTES = 1024 * 1024

_UNKNOWN = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}
"""What a file system answers that does not have a call at all."""

_NOT_KEPT = _UNKNOWN | {errno.EPERM, errno.EACCES}
"""The same of permissions. The files are our own, so nobody else could have a say in them."""

_NO_LOCK = _UNKNOWN | {errno.ENOLCK}


def private(path: str, flags: int) -> int:
    """Open a file that only its owner can read; an opener for `open`."""
    return os.open(path, flags, PRIVATE)


def see_folder(path: Path) -> None:
    """See that a path leads to a folder, or that one can be made there.

    Raises:
        OSError: a link to nothing or something that is no folder stands in the way.
    """
    for one in (path, *path.parents):
        if one.exists():
            if not one.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(one))
            return
        if one.is_symlink():
            where = f"{one}, a link to {one.readlink()}"
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where)


class Volume:
    """The file system that holds a place of backups, and what it was found to refuse.

    Args:
        place: the place, for messages.
        mode: permissions of files; who may read a folder may also enter it.
    """

    def __init__(self, place: Path, mode: int = PRIVATE) -> None:
        self._place = place
        self._mode = mode
        self._refused: dict[str, None] = {}

    @property
    def notes(self) -> list[str]:
        """What is not guaranteed there, as far as that was found out."""
        return [f"{self._place}: this file system {refused}" for refused in self._refused]

    def make_folder(self, path: Path) -> None:
        """Make a folder, and those above it that are missing, so that a crash undoes none of it.

        Raises:
            OSError: the disk refuses.
        """
        see_folder(path)
        missing = [one for one in (path, *path.parents) if not one.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for one in reversed(missing):
            self.sync(one.parent)

    def write(self, path: Path, content: bytes) -> None:
        """Write a small file, in a folder that has not its name yet, and sync it.

        Raises:
            OSError: the disk refuses.
        """
        with open(path, "wb", opener=private) as file:
            file.write(content)
        self.sync(path)

    def sync(self, path: Path) -> None:
        """Wait until a file's content, or a folder's list of names, is on the disk.

        Raises:
            OSError: the disk fails.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            what = "folders" if path.is_dir() else "files"
            self._refuse(
                f"does not sync {what} ({error.strerror}): a backup that was just made may be "
                "damaged or gone after a power failure"
            )
        finally:
            os.close(descriptor)

    def set_mode(self, path: Path) -> None:
        """Give a folder and what of it is ours, or a file, the permissions that are wanted.

        Raises:
            OSError: the disk fails.
        """
        for inner in (path, *(entries_below(path) if path.is_dir() else ())):
            may_enter = (self._mode & 0o444) >> 2 if inner.is_dir() else 0
            self._set_mode(inner, self._mode | may_enter)

    def _set_mode(self, path: Path, mode: int) -> None:
        try:
            path.chmod(mode)
        except OSError as error:
            if error.errno not in _NOT_KEPT:
                raise
            is_kept = False
        else:
            is_kept = stat.S_IMODE(path.stat().st_mode) == mode
        if not is_kept:
            self._refuse(
                "does not keep permissions: who may read a backup there is what its mount says"
            )

    def lock(self, descriptor: int, *, wait: bool = False) -> None:
        """Lock a file for as long as it is open.

        Args:
            descriptor: of the file.
            wait: until another process that has locked it has ended, instead of raising an error.

        Raises:
            BlockingIOError: another process has locked it.
            OSError: the disk fails.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _NO_LOCK:
                raise
            self._refuse(
                f"has no locks ({error.strerror}): see to it that no two backups are written or "
                "removed there at a time"
            )

    def append(self, part: Path, path: Path) -> None:
        """Append a file to another, and remove it.

        Raises:
            OSError: the disk refuses.
        """
        with part.open("rb") as source, path.open("r+b") as target:
            target.seek(0, os.SEEK_END)
            _copy(source.fileno(), target.fileno(), os.fstat(source.fileno()).st_size)
            try:
                # While others compress: 0.1 s less to wait for at the end of 320 MB.
                os.fdatasync(target.fileno())
            except OSError as error:
                if error.errno not in _UNKNOWN:
                    raise
        part.unlink()

    def _refuse(self, refused: str) -> None:
        self._refused.setdefault(refused)


def _copy(source: int, target: int, size: int) -> None:
    """Copy a file from its beginning to where the other is.

    Raises:
        OSError: the disk refuses, or the file is shorter than that.
    """
    offset = 0
    try:
        # Within the kernel: a third of the time that reading and writing takes.
        while offset < size and (copied := os.sendfile(target, source, offset, size - offset)):
            offset += copied
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    while offset < size:
        piece = memoryview(os.pread(source, min(_COPY_BYTES, size - offset), offset))
        if not piece:
            raise OSError(errno.EIO, "a file became shorter while it was copied")
        offset += len(piece)
        while piece:
            piece = piece[os.write(target, piece) :]
