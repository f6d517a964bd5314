"""Folders of backups, named by date as Komodo's, with a manifest in each, for all forms of files.

See docs/formats.md. In Komodo's form:

    2025-08-12_03-00-01/       local time the backup was taken
      Action.gz
      manifest.json
    Stats.gz                   only the latest is kept
    Stats.manifest.json

A backup is written to `.2025-08-12_03-00-01.partial`, and renamed when all of it is on the disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from fastdump.errors import BackupNotFoundError, UsageError
from fastdump.layouts.ages import CLOCK_SET_BACK, about_future, in_utc, oldest_first, when_made
from fastdump.layouts.folder_writer import MANIFEST, PARTIAL, FolderWriter, new_writer
from fastdump.layouts.form import Form
from fastdump.layouts.interface import Swept
from fastdump.layouts.journal import Finished, Planned, read_journal
from fastdump.layouts.manifest_checks import check_folder, damaged_manifests
from fastdump.layouts.removal import remove_folder
from fastdump.layouts.segments import FileReader
from fastdump.layouts.stored_files import (
    bare_files,
    latest_only_files,
    owner_of,
    path_of,
    read_manifest,
)
from fastdump.model import (
    OPLOG,
    Backup,
    Catalog,
    Location,
    StoredCollection,
)
from fastdump.report import Problem
from fastdump.storage.disk_errors import disk
from fastdump.storage.litter import about_litter, entries
from fastdump.storage.locking import PRUNING, Lock
from fastdump.storage.volume import PRIVATE, Volume

__all__ = ["MANIFEST", "DatedFolders"]

_NAME_FORMAT = "%Y-%m-%d_%H-%M-%S"
_NAME = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}")
_REMOVED = ".removed"


class DatedFolders:
    """Layout of a folder of dated backups.

    Args:
        folder: the folder of backups.
        form: the form of the files of a new backup; every form can be read.
        mode: the permissions of the files of a new backup.
    """

    can_repeat = True

    def __init__(self, folder: Path, form: Form | None = None, mode: int = PRIVATE) -> None:
        self.folder = folder
        self.volume = Volume(folder, mode)
        self._form = form
        self._notes: tuple[str, ...] = ()

    @property
    def layout(self) -> DatedFolders:
        """This folder."""
        return self

    @property
    def resumable(self) -> DatedFolders:
        """This folder."""
        return self

    @property
    def notes(self) -> list[str]:
        """The guarantees that its file system does not give."""
        return self.volume.notes

    def known_bounds(self) -> None:
        """Return None: files may be cut anywhere."""

    @property
    def reader(self) -> FileReader:
        """The reader of its files."""
        return FileReader()

    @property
    def stream(self) -> None:
        """None: these backups are files, which can be read more than once."""
        return

    def backups(self) -> list[Backup]:
        """Return all complete backups, oldest first."""
        with disk(self.folder):
            names = [entry.name for entry in os.scandir(self.folder) if _is_backup(entry)]
            return oldest_first(_read_backup(self.folder / name) for name in names)

    def find(self, name: str | None) -> Backup:
        """Return the backup of that name, or in the folder of that path, or the most recent one."""
        if name is None:
            backups = self.backups()
            if not backups:
                raise BackupNotFoundError(f"{self.folder}: there is no complete backup in it")
            self._notes = tuple(about_future(backups))
            return backups[-1]
        path = self.folder / name
        if not path.is_dir():
            raise BackupNotFoundError(
                f"{path}: there is no such backup; 'fastdump list' shows all backups"
            )
        with disk(path):
            return _read_backup(path.resolve())

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """Return the backup's own collections and the latest-only ones beside it, and notes.

        Latest-only collections of another database, with backups in the same folder, are left out.
        """
        folder = Path(backup.path)
        with disk(folder):
            inner = [path for path in entries(folder) if path.is_dir()]
            notes = [*self._notes, *about_litter(folder, *inner)]
        if not backup.has_manifest:
            notes.append(
                f"{backup.path}: without a readable {MANIFEST} only documents can be restored, "
                "but no options and indexes"
            )
        own = {collection.namespace for collection in backup.collections}
        known = backup.has_manifest
        beside = []
        for found in DatedFolders(folder.parent).latest():
            if known and owner_of(found) not in (None, *backup.databases):
                notes.append(f"{path_of(found)} belongs to database {owner_of(found)!r}: left out")
            elif found.namespace not in own:
                if found.origin.was_replaced:
                    notes.append(
                        f"{path_of(found)} was replaced by another program, such as Komodo's own "
                        "backup: its documents are of another moment than the rest"
                    )
                is_of_another = known and found.origin.started != backup.started
                origin = replace(found.origin, is_of_another=is_of_another)
                beside.append(replace(found, origin=origin))
        return [*backup.collections, *beside], notes

    def damaged_definitions(self, backup: Backup) -> list[Problem]:
        """Return the manifests of the backup that are damaged or were changed."""
        return damaged_manifests(backup, self.contents(backup)[0])

    def problems(self, backup: Backup) -> list[Problem]:
        """Return damaged manifests, and files that are not part of the backup."""
        return check_folder(backup, self.contents(backup)[0])

    def latest(self) -> list[StoredCollection]:
        """Return the latest-only collections, whose files are beside the dated folders.

        Raises:
            StorageError: the folder cannot be read.
        """
        with disk(self.folder):
            return latest_only_files(self.folder)

    def begin(self, taken: datetime, catalog: Catalog, workers: int) -> FolderWriter:  # noqa: ARG002
        """Start a backup that is named after `taken`, or after the next free second.

        If the clock was set back, as at the end of summer time, the name is still later than those
        of the existing backups; otherwise the new backup would be the next to be pruned.

        Raises:
            StorageError: the folder cannot be written, or another backup is being written there.
            UsageError: the latest-only file of another database would be replaced.
        """
        assert self._form is not None, "this folder was opened for reading"  # noqa: S101
        taken = taken.replace(microsecond=0)
        with disk(self.folder):
            self.volume.make_folder(self.folder)
            lock = Lock(self._lock_path, self.folder, self.volume)
            try:
                self._keep_others(catalog)
                path = self._free(taken)
                partial = path.with_name(f".{path.name}{PARTIAL}")
                return new_writer(path, partial, catalog, self._form, lock, self.volume)
            except BaseException:
                lock.release()
                raise

    @property
    def told(self) -> str:
        """A text that is equal for folders that write backups in the same way."""
        form = self._form
        assert form is not None, "this folder was opened for reading"  # noqa: S101
        return f"{form.layout} {form.level} {sorted(form.latest_only)}"

    def resume(self, settings: str) -> tuple[FolderWriter, Planned, Sequence[Finished]] | None:
        """Return the newest unfinished backup with the same settings, or None.

        Raises:
            StorageError: the folder cannot be written, or another backup is being written there.
            UsageError: the latest-only file of another database would be replaced.
        """
        assert self._form is not None, "this folder was opened for reading"  # noqa: S101
        with disk(self.folder):
            self.volume.make_folder(self.folder)
            lock = Lock(self._lock_path, self.folder, self.volume)
            try:
                for partial in (Path(path) for _begun, path in reversed(self.stale())):
                    found = read_journal(partial)
                    if found is not None and found[0].settings == settings:
                        path = partial.with_name(partial.name[1:].removesuffix(PARTIAL))
                        catalog = found[0].catalog
                        self._keep_others(catalog)
                        writer = FolderWriter(path, partial, catalog, self._form, lock, self.volume)
                        return writer, *found
            except BaseException:
                lock.release()
                raise
            lock.release()
        return None

    def _keep_others(self, catalog: Catalog) -> None:
        """Check that the backup would not replace a latest-only file of another database."""
        assert self._form is not None  # noqa: S101 - a backup is about to be written
        names = self._form.file_names(catalog)
        replaced = {
            names[one.namespace]: one.database
            for one in catalog.collections
            if one.has_data and one.name in self._form.latest_only
        }
        for found in latest_only_files(self.folder):
            path, owner = path_of(found), owner_of(found)
            own = replaced.get(path.name, owner)
            if owner is not None and own != owner:
                raise UsageError(
                    f"{path} belongs to database {owner!r}, whose backups need it, "
                    f"and a backup of {own!r} would replace it: name another folder with -f"
                )

    def _free(self, taken: datetime) -> Path:
        """Return a free path for a backup of that time."""
        found = [backup.taken for backup in self.backups()]
        ahead = [other for other in found if taken <= other < taken + CLOCK_SET_BACK]
        if ahead:
            taken = max(ahead) + timedelta(seconds=1)
        path = self.folder / taken.strftime(_NAME_FORMAT)
        while path.exists() or path.with_name(f".{path.name}{PARTIAL}").exists():
            taken += timedelta(seconds=1)
            path = self.folder / taken.strftime(_NAME_FORMAT)
        return path

    def stale(self) -> list[tuple[datetime, Location]]:
        """Return the unfinished folders of killed runs, each with its time, oldest first.

        Raises:
            StorageError: the folder cannot be read.
        """
        found: list[tuple[datetime, Path]] = []
        with disk(self.folder):
            for entry in os.scandir(self.folder):
                name, ending = entry.name[1:20], entry.name[20:]
                begun = _taken(name)
                if (
                    entry.name.startswith(".")
                    and ending in (PARTIAL, _REMOVED)
                    and begun is not None
                    and entry.is_dir(follow_symlinks=False)
                ):
                    path = Path(entry.path)
                    found.append((when_made(path, begun), path))
        return [*sorted(found)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder inside the context, so that nobody else writes or prunes here."""
        with disk(self.folder):
            lock = Lock(self._lock_path, self.folder, self.volume, PRUNING)
        try:
            yield
        finally:
            with disk(self.folder):
                lock.release()

    @property
    def _lock_path(self) -> Path:
        return self.folder / ".lock"

    def remove(self, path: Location) -> None:
        """Delete a backup, or the unfinished folder of a killed run.

        A backup is renamed first, so that a partly deleted one is never taken for a complete one.
        """
        path = Path(path)
        hidden = path if path.name.startswith(".") else path.with_name(f".{path.name}{_REMOVED}")
        remove_folder(path, hidden, self.volume)

    def sweep(self) -> Swept:
        """Delete nothing: each backup has files of its own."""
        return Swept(None)


def _is_backup(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and _taken(entry.name) is not None


def _taken(name: str) -> datetime | None:
    if not _NAME.fullmatch(name):
        return None
    try:
        return datetime.strptime(name, _NAME_FORMAT)
    except ValueError:
        return None


def _read_backup(path: Path) -> Backup:
    taken = _taken(path.name) or datetime.fromtimestamp(path.stat().st_mtime)
    found = read_manifest(path / MANIFEST)
    if found is None:
        made, files = when_made(path, taken), tuple(bare_files(path))
        return Backup(path.name, path, taken, made, files, has_manifest=False)
    description, collections = found
    return Backup(
        path.name,
        path,
        taken,
        in_utc(description.started),
        tuple(one for one in collections if one.namespace != OPLOG),
        has_manifest=True,
        oplog=next((one for one in collections if one.namespace == OPLOG), None),
        layout=description.layout,
        databases=description.databases,
        server_version=description.server.version,
        started=description.started,
        consistency=description.how_consistent,
    )
