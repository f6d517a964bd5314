"""Leases: objects that say who is at work in a repository, so that sweeping harms no backup.

A backup reuses pieces that no manifest may name, and names them only when it is done. Nothing may
be swept meanwhile. Whoever works puts a lease first and looks for the leases of others afterwards,
so that of two that begin at the same time at least one sees the other: a sweep then gives up, and a
backup waits until it has.

A lease is put again every minute. One that is ten minutes old is of a process that died. All ages
are told by the storage's clock, never by those of the machines, which may differ.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import msgspec

from fastdump.errors import ObjectNotFoundError, StorageError
from fastdump.storage.interface import Storage

__all__ = ["BACKUP", "LEASES", "REKEY", "SWEEP", "Lease", "Owner", "remove_dead"]

LEASES = "leases"
BACKUP, SWEEP, REKEY = "backup", "sweep", "rekey"

LIFE = timedelta(minutes=10)
_REFRESH_SECONDS = 60.0
_WAIT_SECONDS = 0.5


class Owner(msgspec.Struct, frozen=True):
    """The holder of a lease, for people, and for others on the same machine."""

    host: str
    process: int
    where: str = ""
    """Return what else processes have in common that can see each other."""

    @classmethod
    def this(cls) -> Owner:
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), _where())

    @property
    def has_died(self) -> bool:
        """True if it was a process that could be seen from here, and is no more."""
        if not self.where or self.where != _where():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.process} of {self.host}"


_OWNERS = msgspec.json.Decoder(Owner)


class _Found(NamedTuple):
    key: str
    modified: datetime
    owner: Owner


class Lease:
    """A lease that is held until it is released.

    Args:
        storage: that of the repository.
        kind: `BACKUP`, `SWEEP` or `REKEY`.

    Raises:
        StorageError: it cannot be put.
    """

    def __init__(self, storage: Storage, kind: str) -> None:
        self._storage = storage
        self.key = f"{LEASES}/{kind}.{uuid4().hex}"
        self._content = msgspec.json.encode(Owner.this())
        self._ended = threading.Event()
        self._refreshed = _now()
        self._has_lapsed = False
        self.refresh()
        threading.Thread(target=self._keep, name="fastdump-lease", daemon=True).start()

    @property
    def has_lapsed(self) -> bool:
        """True if it was not put again for so long that others may have taken it for dead."""
        return self._see_lapsed(_now())

    def refresh(self) -> None:
        """Put it again.

        Raises:
            StorageError: it cannot be put.
        """
        began = _now()
        self._storage.put(self.key, self._content)
        self._see_lapsed(began)
        self._refreshed = began

    def _see_lapsed(self, now: float) -> bool:
        # Half of its life, since the clock of the storage counts from an unknown moment on.
        if now - self._refreshed > LIFE.total_seconds() / 2:
            self._has_lapsed = True
        return self._has_lapsed

    def others(self, kind: str, *but: str) -> list[Owner]:
        """Return who else is at work, as far as they live.

        Args:
            kind: `BACKUP`, `SWEEP` or `REKEY`.
            but: keys of leases of our own.

        Raises:
            StorageError: the storage cannot be read.
        """
        self.refresh()
        found = [one for one in _leases(self._storage, kind) if one.key not in (self.key, *but)]
        now = self.now()
        return [one.owner for one in found if now - one.modified < LIFE and not one.owner.has_died]

    def wait_for(self, kind: str) -> None:
        """Wait until nobody else is at that work.

        Raises:
            StorageError: the storage cannot be read.
        """
        while self.others(kind):
            time.sleep(_WAIT_SECONDS)

    def now(self) -> datetime:
        """Return what the storage's clock said when this lease was put last.

        Raises:
            StorageError: the storage cannot be read, or the lease is gone.
        """
        for entry in self._storage.list(LEASES):
            if entry.key == self.key:
                return entry.modified
        raise StorageError(f"{self._storage.shown}: {self.key} was removed while it was held")

    def release(self) -> None:
        """Give it up; to do it again does nothing."""
        if not self._ended.is_set():
            self._ended.set()
            with suppress(StorageError):  # it dies by itself
                self._storage.delete(self.key)

    def _keep(self) -> None:
        while not self._ended.wait(_REFRESH_SECONDS):
            with suppress(StorageError):  # the next one may come through
                self.refresh()


def remove_dead(storage: Storage, now: datetime) -> None:
    """Remove the leases of processes that died.

    Raises:
        StorageError: the storage refuses.
    """
    for kind in (BACKUP, SWEEP, REKEY):
        for one in list(_leases(storage, kind)):
            if now - one.modified >= LIFE or one.owner.has_died:
                storage.delete(one.key)


def _leases(storage: Storage, kind: str) -> Iterator[_Found]:
    for entry in storage.list(LEASES):
        if entry.key.startswith(f"{LEASES}/{kind}."):
            with suppress(ObjectNotFoundError):
                yield _Found(entry.key, entry.modified, _owner(storage.get(entry.key)))


def _owner(content: bytes) -> Owner:
    try:
        return _OWNERS.decode(content)
    except msgspec.DecodeError:
        return Owner("an unknown machine", 0)


def _where() -> str:
    """Return the machine since it was started, and the container: host names may be the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _now() -> float:
    """Return seconds of a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
