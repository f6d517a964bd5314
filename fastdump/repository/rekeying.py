"""Encrypting a repository for others: first what is new, then what is there already.

`repository.json` is replaced first. From then on, backups write for the new recipients, and take no
piece that was put before: it is for the former ones. Then each object that is older is opened and
put again. So a run that was killed is continued by the next one, which finds fewer of them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from fastdump.errors import FastdumpError, FormatError, StorageError
from fastdump.model import Keys
from fastdump.progress import Reporter
from fastdump.report import RekeyReport
from fastdump.repository import DESCRIPTION, description, manifests
from fastdump.repository.description import Description
from fastdump.repository.envelope import Envelope
from fastdump.repository.leases import BACKUP, REKEY, SWEEP, Lease
from fastdump.repository.manifests import BACKUPS
from fastdump.repository.pieces import PIECES
from fastdump.storage.interface import Entry, Storage

__all__ = ["Rekeying", "see_free"]

_THREADS = 4
_RESOLUTION = timedelta(seconds=1)
"""Of the times that object stores tell."""
_WAIT_SECONDS = 0.2


def see_free(storage: Storage) -> None:
    """See that nobody encrypts a repository for others.

    Raises:
        StorageError: somebody does.
    """
    lease = Lease(storage, SWEEP)
    try:
        if busy := lease.others(REKEY):
            raise StorageError(
                f"{storage.shown}: {busy[0]} encrypts it for others; try again when that has ended"
            )
    finally:
        lease.release()


class Rekeying:
    """Encryption of a repository for others.

    Args:
        storage: that of the repository.
        found: its description.
        old: opens what is there.
        reporter: receives progress.
    """

    def __init__(
        self, storage: Storage, found: Description, old: Envelope, reporter: Reporter
    ) -> None:
        self._storage = storage
        self._found = found
        self._old = old
        self._reporter = reporter

    def run(self, keys: Keys) -> RekeyReport:
        """Encrypt for the recipients of these keys; without an identity, only what comes.

        Raises:
            StorageError: the storage refuses, or somebody else is at work there.
            UsageError: there is no passphrase.
        """
        began = time.monotonic()
        lease = Lease(self._storage, REKEY)
        try:
            self._see_alone(lease)
            self._wait(lease)
            changed = description.replace(self._storage, self._found, keys)
            entries = list(self._storage.list())
            since = next(one.modified for one in entries if one.key == DESCRIPTION)
            left = [one for one in entries if one.modified < since and _is_encrypted(one)]
            new = Envelope(tuple(changed.recipients))
            done, failures = self._all(left, new, lease) if self._old.identities else ([], [])
        finally:
            lease.release()
        return RekeyReport(
            recipients=new.recipients,
            objects=len(done),
            file_bytes=sum(one.size for one in done),
            left=len(left) - len(done),
            failures=tuple(failures),
            seconds=time.monotonic() - began,
        )

    def _see_alone(self, lease: Lease) -> None:
        for kind in (BACKUP, SWEEP, REKEY):
            if busy := lease.others(kind):
                raise StorageError(
                    f"{self._storage.shown}: {busy[0]} is at work there; try again when that has "
                    "ended"
                )

    def _wait(self, lease: Lease) -> None:
        """Wait until what is put now is told from what was there by its time."""
        newest = max(one.modified for one in self._storage.list())
        while lease.now() <= newest + _RESOLUTION:
            time.sleep(_WAIT_SECONDS)
            lease.refresh()

    def _all(
        self, entries: list[Entry], new: Envelope, lease: Lease
    ) -> tuple[list[Entry], list[str]]:
        """Put objects again, pieces first; return those, and what is wrong with others."""
        done: list[Entry] = []
        failures: list[str] = []
        entries.sort(key=lambda one: one.key.startswith(f"{BACKUPS}/"))
        self._reporter.start("rekey", 0, sum(one.size for one in entries))
        try:
            with ThreadPoolExecutor(_THREADS, "fastdump-rekey") as threads:
                for entry, problem in threads.map(lambda one: self._one(one, new, lease), entries):
                    if problem is None:
                        done.append(entry)
                        self._reporter.update(0, sum(one.size for one in done))
                    else:
                        failures.append(problem)
        finally:
            self._reporter.stop()
        return done, failures

    def _one(self, entry: Entry, new: Envelope, lease: Lease) -> tuple[Entry, str | None]:
        where = f"{self._storage.shown}/{entry.key}"
        if lease.has_lapsed:
            return entry, f"{where}: left out, since others may be at work here again"
        try:
            content = self._storage.get(entry.key)
            if entry.key.startswith(f"{BACKUPS}/"):
                content = manifests.reclosed(content, self._old, new, where)
            else:
                content = new.close(self._old.open(content))
            self._storage.put(entry.key, content)
        except FormatError as error:
            return entry, f"{where}: {error}"
        except FastdumpError as error:
            return entry, str(error)
        return entry, None


def _is_encrypted(entry: Entry) -> bool:
    return entry.key.startswith((f"{BACKUPS}/", f"{PIECES}/"))
