"""Encrypting a repository for others: first what is new, then what is there already.

`repository.json` begins a new generation first. The key of the names of pieces follows from that of
the generation before, so what is encrypted for the new recipients has names of its own, and no
backup takes a piece that is for the former ones. Then each older piece is put once more under its
new name, and each manifest is replaced when all of its pieces are. The former pieces go last. So at
every moment each backup is whole, for one generation or the other, and a run that was killed is
continued by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from msgspec import UNSET

from fastdump.errors import (
    BackupDamagedError,
    FormatError,
    ObjectNotFoundError,
    StorageError,
)
from fastdump.layouts.manifest import Manifest
from fastdump.model import Keys, Piece
from fastdump.progress import Reporter
from fastdump.report import RekeyReport
from fastdump.repository import description, manifests
from fastdump.repository.description import Description
from fastdump.repository.envelope import Envelope
from fastdump.repository.leases import BACKUP, REKEY, SWEEP, Lease
from fastdump.repository.manifests import BACKUPS, Sealed
from fastdump.repository.pieces import key_after, key_of, name_of
from fastdump.repository.reading import names_there, opened
from fastdump.storage.interface import Storage

__all__ = ["Rekeying", "see_free"]

_THREADS = 4


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


class _Older(NamedTuple):
    """A backup of an older generation."""

    key: str
    """The key of its manifest's object."""
    found: Manifest | Sealed


class _Names(NamedTuple):
    """Keys of the names of pieces."""

    old: bytes
    new: bytes


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
        self._new = Envelope()
        self._reporter = reporter
        self._renamed: dict[str, Piece] = {}
        """The new pieces by the names of the old ones, hexadecimal."""
        self._file_bytes = 0
        """Their size."""
        self._failures: list[str] = []
        self._damaged = 0
        """Number of manifests that nobody can read."""

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
            self._found = description.replace(self._storage, self._found, keys)
            self._new = Envelope(tuple(self._found.recipients))
            older = self._older()
            done = self._all(older, lease) if self._old.identities else []
            self._remove_former(older, done, lease)
        finally:
            lease.release()
        return RekeyReport(
            recipients=self._new.recipients,
            backups=len(done),
            file_bytes=self._file_bytes,
            left=len(older) - len(done) + self._damaged,
            failures=tuple(self._failures),
            seconds=time.monotonic() - began,
        )

    def _see_alone(self, lease: Lease) -> None:
        for kind in (BACKUP, SWEEP, REKEY):
            if busy := lease.others(kind):
                raise StorageError(
                    f"{self._storage.shown}: {busy[0]} is at work there; try again when that has "
                    "ended"
                )

    def _older(self) -> list[_Older]:
        """Return the backups of older generations, as far as they can be read."""
        found = []
        for entry in list(self._storage.list(BACKUPS)):
            if manifests.moment_in(entry.key.rpartition("/")[2]) is None:
                continue
            where = self._where(entry.key)
            try:
                content = self._storage.get(entry.key)
                if manifests.generation_of(content, where) != self._found.generation:
                    found.append(_Older(entry.key, manifests.opened(content, self._old, where)))
            except BackupDamagedError as error:
                self._damaged += 1
                self._failures.append(str(error))
        return found

    def _all(self, older: Iterable[_Older], lease: Lease) -> list[_Older]:
        """Encrypt backups again, and return those that are."""
        there = names_there(self._storage)
        named = {name for one in older for name in manifests.named(one.found)}
        self._reporter.start("rekey", 0, sum(there.get(name, 0) for name in named))
        try:
            return [one for one in older if self._again(one, lease)]
        finally:
            self._reporter.stop()

    def _again(self, one: _Older, lease: Lease) -> bool:
        """Put the pieces of a backup under their new names, and then its manifest."""
        found = one.found
        if isinstance(found, Sealed) or found.key is UNSET:
            self._failures.append(f"{self._where(one.key)}: it is encrypted for other keys")
            return False
        old = bytes.fromhex(found.key)
        since = self._found.since(found.generation or "")
        new = key_after(old, [self._found.generation] if since is None else since)
        if not self._put_pieces(found, _Names(old, new)):
            return False
        changed = manifests.renamed(found, self._renamed, new, self._found.generation)
        self._see_alive(lease)
        self._storage.put(one.key, manifests.closed(changed, self._new))
        return True

    def _put_pieces(self, found: Manifest, names: _Names) -> bool:
        """Put those pieces of a backup that were not put yet; return False if one cannot be."""
        wanted = {
            piece.name: piece
            for one in found.collections
            for piece in (() if one.pieces is UNSET else one.pieces)
            if piece.name not in self._renamed
        }
        threads = ThreadPoolExecutor(_THREADS, "fastdump-rekey")
        try:
            for name, piece in zip(
                wanted, threads.map(lambda name: self._put(name, names), wanted), strict=True
            ):
                if isinstance(piece, str):
                    self._failures.append(piece)
                else:
                    self._renamed[name] = piece
                    self._file_bytes += piece.file_bytes
                    self._reporter.update(0, self._file_bytes)
        finally:
            threads.shutdown(cancel_futures=True)
        return wanted.keys() <= self._renamed.keys()

    def _put(self, name: str, names: _Names) -> Piece | str:
        """Put a piece under its new name; return a message if it is damaged or missing."""
        old_name = bytes.fromhex(name)
        try:
            data, batches = opened(self._storage, self._old, old_name, [names.old])
        except (FormatError, ObjectNotFoundError) as error:
            return f"{self._where(key_of(old_name))}: {error}"
        new_name = name_of(batches, names.new)
        closed = self._new.close(data)
        is_new = self._storage.put_new(key_of(new_name), closed)
        size = len(closed) if is_new else self._storage.size(key_of(new_name))
        raw_bytes = sum(len(batch.data) for batch in batches)
        return Piece(new_name, sum(one.documents for one in batches), raw_bytes, size, is_new)

    def _remove_former(self, older: Iterable[_Older], done: list[_Older], lease: Lease) -> None:
        """Delete the pieces that only backups needed which are encrypted again."""
        if self._damaged:
            return  # nobody knows which pieces that backup needs
        again = {one.key for one in done}
        left = (one.found for one in older if one.key not in again)
        needed = {name for found in left for name in manifests.named(found)}
        for name in map(bytes.fromhex, self._renamed):
            if name not in needed:
                self._see_alive(lease)
                self._storage.delete(key_of(name))

    def _see_alive(self, lease: Lease) -> None:
        if lease.has_lapsed:
            raise StorageError(
                f"{self._storage.shown}: this run paused for so long that others may be at work "
                "there again; run the same command again"
            )

    def _where(self, key: str) -> str:
        return f"{self._storage.shown}/{key}"
