"""A repository: many backups in one place, in which each piece is stored once.

    repository.json            format, id, and the key of the names of pieces
    backups/<time>Z.<id>       a manifest, put last: a backup is there when this is
    pieces/3f/3fa9c0…          documents of one collection
    leases/<kind>.<id>         who is at work

See docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from msgspec import UNSET

from fastdump.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    ObjectNotFoundError,
    UsageError,
)
from fastdump.layouts.ages import about_future, oldest_first
from fastdump.layouts.interface import Swept
from fastdump.layouts.manifest import Manifest
from fastdump.model import (
    DEFAULT_COMPRESSION,
    NO_KEYS,
    Backup,
    Bounds,
    Catalog,
    Compression,
    Keys,
    Location,
    Namespace,
    StoredCollection,
)
from fastdump.progress import Reporter
from fastdump.report import Problem, RekeyReport
from fastdump.repository import DESCRIPTION, description, manifests
from fastdump.repository.description import Description
from fastdump.repository.envelope import Envelope
from fastdump.repository.leases import BACKUP, REKEY, SWEEP, Lease
from fastdump.repository.manifests import BACKUPS, Sealed
from fastdump.repository.memory import Memory, Remembered
from fastdump.repository.reading import PieceReader, names_there
from fastdump.repository.rekeying import Rekeying, see_free
from fastdump.repository.sealing import ClearSeal, MemorySeal, followed, remembered
from fastdump.repository.sweeping import sweep
from fastdump.repository.writing import PieceOutputs, RepositoryWriter
from fastdump.storage.interface import Storage

__all__ = ["Repository"]

GRACE = timedelta(days=1)
"""So long a piece that no manifest names stays, for the next run of a backup that was killed."""

_THREADS = 8
_BOUNDS_OF = 8
"""Of so many backups the bounds are looked at: those of other databases may lie in between."""


class Repository:
    """A place of backups.

    Args:
        storage: where it is.
        compression: that of new pieces.
        keys: for whom a new repository is encrypted, and what opens it.
        memory: a folder in which this machine remembers what it cannot read.
        grace: how long a piece that no manifest names stays.
    """

    can_repeat = True
    stream = None
    resumable = None

    def __init__(
        self,
        storage: Storage,
        compression: Compression = DEFAULT_COMPRESSION,
        grace: timedelta = GRACE,
        keys: Keys = NO_KEYS,
        memory: Storage | None = None,
    ) -> None:
        self._storage = storage
        self._compression = compression
        self._grace = grace
        self._keys = keys
        self._memory = Memory(memory)
        self._lease: Lease | None = None
        self._found: Description | None = None
        self._manifests: dict[str, Manifest | Sealed | None] = {}
        self._said: list[str] = []
        self._notes: tuple[str, ...] = ()

    @property
    def layout(self) -> Repository:
        """This repository."""
        return self

    @property
    def notes(self) -> Sequence[str]:
        """The guarantees that its storage does not give, and sentences about its keys."""
        return [*self._storage.notes, *self._said]

    @property
    def reader(self) -> PieceReader:
        """The reader of its pieces."""
        return PieceReader(self._storage, self._names_keys, self._envelope)

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
        return list(manifests.with_added(oldest_first(backups)))

    def find(self, name: str | None) -> Backup:
        """Return the backup of that name, or the only one whose name begins so, or the newest.

        Raises:
            BackupNotFoundError: there is none, or several.
            UsageError: it is encrypted, and nothing opens it.
        """
        found = self._named(name)
        if found.sealed_bytes is not None and self._ask():
            found = self._named(name)
        return self._readable(found)

    def _named(self, name: str | None) -> Backup:
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

    def _ask(self) -> bool:
        """Ask for the passphrase of the repository, if that is possible and nothing else is given.

        Pruning and writing never need it, so it is asked for here and not before.
        """
        ask = self._keys.ask
        if ask is None or self._keys.passphrase or not self._description.locked:
            return False
        self._keys = replace(self._keys, passphrase=ask(False) or None)
        self._forget_keys()
        self._manifests.clear()
        return True

    def _forget_keys(self) -> None:
        self._found = None
        self.__dict__.pop("_envelope", None)

    def _readable(self, backup: Backup) -> Backup:
        if backup.sealed_bytes is None:
            return backup
        if self._envelope.can_read:
            raise UsageError(f"{backup.path} is encrypted for other keys than those of --identity")
        or_passphrase = " or give its passphrase" if self._description.locked else ""
        raise UsageError(
            f"{backup.path} is encrypted: name the file with your key by --identity{or_passphrase}"
        )

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """Return the collections of a backup.

        Raises:
            BackupDamagedError: its manifest is damaged.
        """
        if not backup.has_manifest:
            where = str(backup.path)
            manifests.opened(self._storage.get(f"{BACKUPS}/{backup.name}"), self._envelope, where)
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
        if not self._envelope.can_read:
            known_here = self._memory.load(self._description.id)
            return known_here.bounds if known_here else {}
        names = sorted(self._names(), reverse=True)[:_BOUNDS_OF]
        found = self._read(names)
        known: dict[Namespace, Bounds] = {}
        for name in reversed(names):
            one = found.get(name)
            known |= manifests.bounds_of(one) if isinstance(one, Manifest) else {}
        return known

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> RepositoryWriter:  # noqa: ARG002
        """Start a backup; the first one makes the repository."""
        if not self.exists():
            self._make()
        lease = Lease(self._storage, BACKUP)
        try:
            lease.wait_for(SWEEP)
            lease.wait_for(REKEY)
            self._forget_keys()  # it may be encrypted for others by now
            envelope, seal = self._envelope, self._seal()
            key = seal.key or bytes.fromhex(self._description.key or "")
            outputs = PieceOutputs(
                self._storage, key, names_there(self._storage), envelope, self._compression
            )
        except BaseException:
            lease.release()
            raise
        self._lease = lease
        return RepositoryWriter(
            self._storage, outputs, lease, manifests.new_name(datetime.now(UTC)), catalog, seal
        )

    def _make(self) -> None:
        """Make the repository, unless somebody else is faster."""
        description.make(self._storage, self._keys)
        if self._description.recipients:
            self._said.append(
                f"{self._storage.shown} is a new encrypted repository: without the key or the "
                "passphrase nobody can ever read it, so keep a copy of it apart from this machine"
            )

    def rekey(self, keys: Keys, reporter: Reporter) -> RekeyReport:
        """Encrypt the repository for the recipients of these keys.

        What is there already needs an identity that opens it.

        Raises:
            StorageError: the storage refuses, or somebody else is at work there.
            UsageError: it is not encrypted, or there is no passphrase.
        """
        if not self._description.recipients:
            raise UsageError(f"{self._storage.shown} is not encrypted: there is nothing to change")
        if not keys.recipients:
            raise UsageError(f"say for whom {self._storage.shown} is to be encrypted")
        if not self._envelope.can_read:
            self._ask()
        found = self._description
        return Rekeying(self._storage, found, self._envelope, reporter).run(keys)

    def stale(self) -> list[tuple[datetime, Location]]:
        """Return nothing: what killed runs put is for the next backup, or swept."""
        return []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See that no manifest is being encrypted for others; leases keep what backups need.

        Raises:
            StorageError: it is.
        """
        if self.exists():
            see_free(self._storage)
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
        own = () if self._lease is None else (self._lease.key,)
        return sweep(self._storage, self._read, self._grace, own)

    def _names(self) -> list[str]:
        keys = (entry.key.removeprefix(f"{BACKUPS}/") for entry in self._storage.list(BACKUPS))
        return [name for name in keys if manifests.moment_in(name) is not None]

    def _read(self, names: Sequence[str] | None = None) -> dict[str, Manifest | Sealed | None]:
        """Return manifests by the names of backups; None for one that is damaged.

        One that was removed meanwhile is left out.
        """
        self._envelope  # noqa: B018 - there must be a repository
        wanted = self._names() if names is None else names
        with ThreadPoolExecutor(_THREADS, "fastdump-manifest") as threads:
            list(threads.map(self._load, [one for one in wanted if one not in self._manifests]))
        return {name: self._manifests[name] for name in wanted if name in self._manifests}

    def _load(self, name: str) -> None:
        try:
            content = self._storage.get(f"{BACKUPS}/{name}")
            self._manifests[name] = manifests.opened(content, self._envelope, self._where(name))
        except ObjectNotFoundError:
            return
        except BackupDamagedError:
            self._manifests[name] = None

    def _where(self, name: str) -> str:
        return f"{self._storage.shown}/{BACKUPS}/{name}"

    @property
    def _description(self) -> Description:
        found = self._described()
        if found is None:
            raise BackupNotFoundError(
                f"{self._storage.shown}: there is no repository of backups; check the address"
            )
        return found

    def _described(self) -> Description | None:
        if self._found is None:  # somebody may make it
            self._found = description.read(self._storage)
        return self._found

    @cached_property
    def _envelope(self) -> Envelope:
        return description.envelope(self._storage, self._description, self._keys)

    @property
    def _names_keys(self) -> list[bytes]:
        """Return the keys of the names of pieces: one, or of each machine that wrote its own."""
        if self._description.key is not None:
            return [bytes.fromhex(self._description.key)]
        found = (one for one in self._read().values() if isinstance(one, Manifest))
        return list({bytes.fromhex(one.key): None for one in found if one.key is not UNSET})

    def _seal(self) -> ClearSeal | MemorySeal:
        """Return how this machine writes, with what it remembers."""
        found = self._description
        before = self._memory.load(found.id)
        if not found.recipients:
            self._see_never_encrypted(before)
            return ClearSeal()
        known = followed(before, found)
        if known is None:
            newest = self._newest()
            known = remembered(newest, found)
            if newest is None and self._names():
                self._said.append(
                    f"{self._storage.shown}: this machine remembers nothing of this encrypted "
                    "repository, so it writes everything once more"
                )
        elif set(known.recipients) != set(found.recipients):
            self._said.append(
                f"{self._storage.shown} is now encrypted for {', '.join(found.recipients)}, and no "
                f"longer for {', '.join(known.recipients)}"
            )
        seal = MemorySeal(found, self._envelope, self._memory, known, self._said)
        seal.remember({})
        return seal

    def _see_never_encrypted(self, before: Remembered | None) -> None:
        if before is not None:
            raise UsageError(
                f"{self._storage.shown} was encrypted at the last backup from here, and its "
                f"{DESCRIPTION} says that it is not: somebody replaced that; put the old one back, "
                "or name another place with -f"
            )

    def _newest(self) -> Manifest | None:
        """Return the newest manifest of the present generation that can be read."""
        current = self._description.generation
        readable = (
            (name, one)
            for name, one in self._read().items()
            if isinstance(one, Manifest) and (one.generation or "") == current
        )
        return max(readable, default=("", None), key=lambda one: one[0])[1]
