"""A repository: many backups in one place, in which each piece is stored once.

    repository.json            format, id, and the key of the names of pieces
    backups/<time>Z.<id>       a manifest, put last: a backup is there when this is
    pieces/3f/3fa9c0…          documents of one collection
    leases/<kind>.<id>         who is at work

See docs/formats.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import uuid4

import msgspec

from fastdump.errors import BackupDamagedError, BackupNotFoundError, ObjectNotFoundError
from fastdump.layouts.ages import about_future, oldest_first
from fastdump.layouts.interface import Swept
from fastdump.layouts.manifest import NO_CHECKSUM, Manifest, is_sealed, sealed
from fastdump.model import Backup, Bounds, Catalog, Location, Namespace, Piece, StoredCollection
from fastdump.report import Problem
from fastdump.repository import manifests
from fastdump.repository.leases import BACKUP, SWEEP, Lease, remove_dead
from fastdump.repository.manifests import BACKUPS, FORMAT
from fastdump.repository.pieces import PIECES, name_in
from fastdump.repository.reading import PieceReader, names_there
from fastdump.repository.writing import PieceOutputs, RepositoryWriter
from fastdump.storage.interface import Entry, Storage
from fastdump.version import __version__

__all__ = ["DESCRIPTION", "Repository"]

DESCRIPTION = "repository.json"
"""The object that makes a place a repository."""

GRACE = timedelta(days=1)
"""So long a piece that no manifest names stays, for the next run of a backup that was killed."""

_THREADS = 8
_BOUNDS_OF = 8
"""Of so many backups the bounds are looked at: those of other databases may lie in between."""

_KEY_BYTES = 32


class _Description(msgspec.Struct, frozen=True):
    format: int
    tool: str
    id: str
    key: str
    """Hexadecimal."""
    checksum: str
    """Checksum of the description itself, computed as in manifests."""


_DESCRIPTIONS = msgspec.json.Decoder(_Description)


class Repository:
    """A place of backups.

    Args:
        storage: where it is.
        level: of the compression of new pieces; None does not compress.
        grace: how long a piece that no manifest names stays.
    """

    can_repeat = True
    stream = None
    resumable = None

    def __init__(
        self, storage: Storage, level: int | None = None, grace: timedelta = GRACE
    ) -> None:
        self._storage = storage
        self._level = level
        self._grace = grace
        self._lease: Lease | None = None
        self._manifests: dict[str, Manifest | None] = {}
        self._notes: tuple[str, ...] = ()

    @property
    def layout(self) -> Repository:
        """This repository."""
        return self

    @property
    def notes(self) -> Sequence[str]:
        """The guarantees that its storage does not give."""
        return self._storage.notes

    @property
    def reader(self) -> PieceReader:
        """The reader of its pieces."""
        return PieceReader(self._storage, self._key)

    def exists(self) -> bool:
        """Return whether there is a repository.

        Raises:
            BackupDamagedError: it is damaged, or of a later format.
            StorageError: the storage cannot be read.
        """
        return self._described() is not None

    def backups(self) -> list[Backup]:
        """Return all backups, oldest first, each with what it added to those before it."""
        found = self._read()
        backups = [manifests.backup_of(name, self._where(name), one) for name, one in found.items()]
        return list(_with_added(oldest_first(backups)))

    def find(self, name: str | None) -> Backup:
        """Return the backup of that name, or the only one whose name begins so, or the newest."""
        backups = self.backups()
        if name is None:
            if not backups:
                raise BackupNotFoundError(f"{self._storage.shown}: there is no backup in it")
            self._notes = tuple(about_future(backups))
            return backups[-1]
        name = name.rpartition("/")[2]
        found = [one for one in backups if one.name == name] or [
            one for one in backups if one.name.startswith(name)
        ]
        if len(found) == 1:
            return found[0]
        which = f"{len(found)} backups are called so" if found else "there is no such backup"
        raise BackupNotFoundError(
            f"{self._where(name)}: {which}; 'fastdump list' shows those that there are"
        )

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """Return the collections of a backup.

        Raises:
            BackupDamagedError: its manifest is damaged.
        """
        if not backup.has_manifest:
            manifests.read(self._storage.get(f"{BACKUPS}/{backup.name}"), str(backup.path))
        return list(backup.collections), list(self._notes)

    def damaged_definitions(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """Return nothing: damage is found when definitions are read."""
        return []

    def problems(self, backup: Backup) -> list[Problem]:  # noqa: ARG002 - it could be read
        """Return nothing more than `contents` and the reader find."""
        return []

    def latest(self) -> list[StoredCollection]:
        """Return nothing: every collection is in each backup."""
        return []

    def known_bounds(self) -> dict[Namespace, Bounds]:
        """Return where the newest backup of each collection cut it."""
        if not self.exists():
            return {}
        names = sorted(self._names(), reverse=True)[:_BOUNDS_OF]
        found = self._read(names)
        known: dict[Namespace, Bounds] = {}
        for name in reversed(names):
            known |= manifests.bounds_of(one) if (one := found.get(name)) is not None else {}
        return known

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> RepositoryWriter:  # noqa: ARG002
        """Start a backup; the first one makes the repository."""
        if not self.exists():
            self._make()
        lease = Lease(self._storage, BACKUP)
        try:
            lease.wait_for(SWEEP)
            outputs = PieceOutputs(
                self._storage, self._key, names_there(self._storage), self._level
            )
        except BaseException:
            lease.release()
            raise
        self._lease = lease
        return RepositoryWriter(
            self._storage, outputs, lease, manifests.new_name(datetime.now(UTC)), catalog
        )

    def stale(self) -> list[tuple[datetime, Location]]:
        """Return nothing: what killed runs put is for the next backup, or swept."""
        return []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: leases keep what others need."""
        yield

    def remove(self, path: Location) -> None:
        """Forget a backup: its manifest is deleted, and its pieces are swept later."""
        name = str(path).rpartition("/")[2]
        self._storage.delete(f"{BACKUPS}/{name}")
        self._manifests.pop(name, None)

    def sweep(self) -> Swept:
        """Delete the pieces that no manifest names, but for new ones, unless a backup runs."""
        if not self.exists():
            return Swept(0)
        lease = Lease(self._storage, SWEEP)
        try:
            own = self._lease
            busy = lease.others(BACKUP, *([own.key] if own is not None else []))
            if busy:
                return Swept(
                    0,
                    (
                        f"{self._storage.shown}: nothing is swept while {busy[0]} makes a backup; "
                        "the next prune does it",
                    ),
                )
            return self._sweep(lease)
        finally:
            lease.release()

    def _sweep(self, lease: Lease) -> Swept:
        found = self._read()
        if damaged := [name for name, one in found.items() if one is None]:
            return Swept(
                0,
                (
                    f"{self._where(damaged[0])} is damaged, and nobody knows which pieces it needs:"
                    " nothing is swept; delete it if it is of no use",
                ),
            )
        now = lease.now()
        remove_dead(self._storage, now)
        named = {piece.name for one in found.values() if one for piece in _pieces(one)}
        doomed = [
            entry
            for entry in self._storage.list(PIECES)
            if name_in(entry.key) not in named and now - entry.modified >= self._grace
        ]
        return Swept(self._delete(doomed, lease))

    def _delete(self, doomed: Iterable[Entry], lease: Lease) -> int:
        def delete(entry: Entry) -> int:
            if lease.has_lapsed:  # a backup may have begun that took this for dead
                return 0
            self._storage.delete(entry.key)
            return entry.size

        with ThreadPoolExecutor(_THREADS, "fastdump-sweep") as threads:
            return sum(threads.map(delete, doomed))

    def _names(self) -> list[str]:
        keys = (entry.key.removeprefix(f"{BACKUPS}/") for entry in self._storage.list(BACKUPS))
        return [name for name in keys if manifests.moment_in(name) is not None]

    def _read(self, names: Sequence[str] | None = None) -> dict[str, Manifest | None]:
        """Return manifests by the names of backups; None for one that is damaged.

        One that was removed meanwhile is left out.
        """
        self._key  # noqa: B018 - there must be a repository
        wanted = self._names() if names is None else names
        with ThreadPoolExecutor(_THREADS, "fastdump-manifest") as threads:
            list(threads.map(self._load, [one for one in wanted if one not in self._manifests]))
        return {name: self._manifests[name] for name in wanted if name in self._manifests}

    def _load(self, name: str) -> None:
        try:
            content = self._storage.get(f"{BACKUPS}/{name}")
            self._manifests[name] = manifests.read(content, self._where(name))
        except ObjectNotFoundError:
            return
        except BackupDamagedError:
            self._manifests[name] = None

    def _where(self, name: str) -> str:
        return f"{self._storage.shown}/{BACKUPS}/{name}"

    @property
    def _key(self) -> bytes:
        found = self._described()
        if found is None:
            raise BackupNotFoundError(
                f"{self._storage.shown}: there is no repository of backups; check the address"
            )
        return bytes.fromhex(found.key)

    def _described(self) -> _Description | None:
        if self._description is None:
            self.__dict__.pop("_description", None)  # somebody may make it
        return self._description

    @cached_property
    def _description(self) -> _Description | None:
        where = f"{self._storage.shown}/{DESCRIPTION}"
        try:
            content = self._storage.get(DESCRIPTION)
            found = _DESCRIPTIONS.decode(content)
            is_key = len(bytes.fromhex(found.key)) == _KEY_BYTES
        except ObjectNotFoundError:
            return None
        except ValueError as error:
            raise BackupDamagedError(f"{where}: it describes no repository: {error}") from error
        if found.format > FORMAT:
            raise BackupDamagedError(
                f"{where}: format {found.format} needs a newer fastdump than {__version__}"
            )
        if not is_key:
            raise BackupDamagedError(f"{where}: its key is damaged")
        if not is_sealed(content, found.checksum):
            raise BackupDamagedError(f"{where}: it is not what was written")
        return found

    def _make(self) -> None:
        """Make the repository, unless somebody else is faster."""
        made = _Description(
            FORMAT,
            f"fastdump {__version__}",
            uuid4().hex,
            secrets.token_hex(_KEY_BYTES),
            NO_CHECKSUM,
        )
        content = msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"
        self._storage.put_new(DESCRIPTION, sealed(content))


def _pieces(found: Manifest) -> Iterator[Piece]:
    for one in manifests.stored(found):
        yield from one.file.pieces if one.file else ()


def _with_added(backups: Iterable[Backup]) -> Iterator[Backup]:
    """Yield backups with the size of those pieces that none before them has."""
    seen = set[bytes]()
    for backup in backups:
        added = 0
        oplog = [backup.oplog] if backup.oplog else []
        for one in (*backup.collections, *oplog):
            for piece in one.file.pieces if one.file else ():
                added += 0 if piece.name in seen else piece.file_bytes
                seen.add(piece.name)
        yield replace(backup, added_bytes=added)
