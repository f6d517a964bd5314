"""Deleting the pieces of a repository that no backup needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from fastdump.layouts.interface import Swept
from fastdump.layouts.manifest import Manifest
from fastdump.repository import manifests
from fastdump.repository.leases import BACKUP, REKEY, SWEEP, Lease, remove_dead
from fastdump.repository.manifests import BACKUPS, Sealed
from fastdump.repository.pieces import PIECES, name_in
from fastdump.storage.interface import Entry, Storage

__all__ = ["sweep"]

_THREADS = 8


def sweep(
    storage: Storage,
    read: Callable[[], Mapping[str, Manifest | Sealed | None]],
    grace: timedelta,
    own: Iterable[str],
) -> Swept:
    """Delete the pieces that no manifest names, unless somebody else is at work.

    Args:
        storage: that of the repository.
        read: returns all manifests by the names of their backups, with None for a damaged one.
        grace: how long a piece stays that no manifest names.
        own: keys of leases of our own.

    Raises:
        StorageError: the storage refuses.
    """
    lease = Lease(storage, SWEEP)
    try:
        if busy := [*lease.others(BACKUP, *own), *lease.others(REKEY)]:
            return _nothing(
                f"{storage.shown}: nothing is swept while {busy[0]} is at work there; the next "
                "prune does it"
            )
        found = read()
        if damaged := [name for name, one in found.items() if one is None]:
            return _nothing(
                f"{storage.shown}/{BACKUPS}/{damaged[0]} is damaged, and nobody knows which pieces "
                "it needs: nothing is swept; delete it if it is of no use"
            )
        now = lease.now()
        remove_dead(storage, now)
        named = {name for one in found.values() if one for name in manifests.named(one)}
        doomed = [
            entry
            for entry in storage.list(PIECES)
            if (name := name_in(entry.key)) is not None  # else it is not ours
            and name not in named
            and now - entry.modified >= grace
        ]
        return Swept(_delete(storage, doomed, lease))
    finally:
        lease.release()


def _nothing(why: str) -> Swept:
    return Swept(0, (why,))


def _delete(storage: Storage, doomed: Iterable[Entry], lease: Lease) -> int:
    def delete(entry: Entry) -> int:
        if lease.has_lapsed:  # a backup may have begun that took this for dead
            return 0
        storage.delete(entry.key)
        return entry.size

    with ThreadPoolExecutor(_THREADS, "fastdump-sweep") as threads:
        return sum(threads.map(delete, doomed))
