"""Dated folders as Komodo's, with a manifest in each, whatever the form of their files.

See docs/formats.md; in Komodo's form:

    2025-08-12_03-00-01/       local time the backup was taken
      Action.gz
      manifest.json
    Stats.gz                   only the latest is kept
    Stats.manifest.json

A backup is made in `.2025-08-12_03-00-01.partial` and renamed when all of it is on the disk.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

from fastdump.errors import BackupNotFoundError, FormatError
from fastdump.model import (
    DEFAULT_DATABASE,
    Backup,
    Catalog,
    CollectionKind,
    Encoding,
    Part,
    StoredCollection,
)
from fastdump.report import CollectionReport
from fastdump.store import manifest
from fastdump.store.base import Form, disk, sync, write_synced
from fastdump.store.joining import JoinedFile, JoinedLines
from fastdump.store.names import collection_name, is_cut

__all__ = ["MANIFEST", "DatedFolders"]

_NAME_FORMAT = "%Y-%m-%d_%H-%M-%S"
_NAME = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2}")
MANIFEST = "manifest.json"
"""What describes a backup, in its folder."""
_KOMODO_LATEST_ONLY = "Stats"
_SYNC_THREADS = 16
_CLOCK_SET_BACK = timedelta(hours=2)


class DatedFolders:
    """A folder of dated backups.

    Args:
        folder: the backups folder.
        form: how a new backup is written; every form is read.
    """

    def __init__(self, folder: Path, form: Form | None = None) -> None:
        self.folder = folder
        self._form = form

    def backups(self) -> list[Backup]:
        """All complete backups, oldest first."""
        with disk(self.folder):
            names = sorted(entry.name for entry in os.scandir(self.folder) if _is_backup(entry))
            return [_read_backup(self.folder / name) for name in names]

    def find(self, name: str | None) -> Backup:
        """The backup of that name, or in the folder of that path, or the most recent one."""
        if name is None:
            backups = self.backups()
            if not backups:
                raise BackupNotFoundError(f"{self.folder}: there is no complete backup in it")
            return backups[-1]
        path = self.folder / name
        if not path.is_dir():
            raise BackupNotFoundError(
                f"{path}: there is no such backup; 'fastdump list' shows those that there are"
            )
        with disk(path):
            return _read_backup(path.resolve())

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """The backup's own collections, and beside them the latest of those kept only once.

        What is known to be of another database, whose backups are in the same folder, is left out.
        """
        notes = []
        if not backup.has_manifest:
            notes.append(
                f"{backup.path}: without a readable {MANIFEST} only documents can be restored, "
                "not options and indexes"
            )
        own = {collection.name for collection in backup.collections}
        beside = [
            found
            for found in DatedFolders(backup.path.parent).latest()
            if found.name not in own
            and (None in (found.database, backup.database) or found.database == backup.database)
        ]
        return [*backup.collections, *beside], notes

    def target(self, backup: Backup) -> str:  # noqa: ARG002 - as Komodo does
        """Komodo's own database, whatever was backed up: a source is no target by accident."""
        return DEFAULT_DATABASE

    def latest(self) -> list[StoredCollection]:
        """The collections beside the dated folders, of which there is only the latest copy.

        Raises:
            StorageError: the folder cannot be read.
        """
        with disk(self.folder):
            return _latest(self.folder)

    def begin(self, taken: datetime, catalog: Catalog) -> DatedWriter:
        """Start a backup, named after `taken`, or after the next second that is free.

        A clock that was set back, as at the end of summer time, does not make it older than the
        backups that are there: it would be the next to be pruned.
        """
        assert self._form is not None, "this folder was opened for reading"  # noqa: S101
        taken = taken.replace(microsecond=0)
        with disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            ahead = [
                backup.taken
                for backup in self.backups()
                if taken <= backup.taken < taken + _CLOCK_SET_BACK
            ]
            if ahead:
                taken = max(ahead) + timedelta(seconds=1)
            path = self.folder / taken.strftime(_NAME_FORMAT)
            partial = path.with_name(f".{path.name}.partial")
            partial.mkdir(mode=0o700)
            return DatedWriter(path, partial, catalog, self._form)

    def remove(self, backup: Backup) -> None:
        """Delete a backup; it loses its name first, so that no half of it is taken for a whole."""
        doomed = backup.path.with_name(f".{backup.path.name}.removed")
        with disk(backup.path):
            backup.path.rename(doomed)
            shutil.rmtree(doomed)


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
    found = _read_manifest(path / MANIFEST)
    if found is None:
        return Backup(path.name, path, taken, tuple(_bare_files(path)), has_manifest=False)
    description, collections = found
    return Backup(
        path.name,
        path,
        taken,
        tuple(collections),
        has_manifest=True,
        database=description.database,
        server_version=description.server.version,
        consistency=description.consistency,
    )


def _read_manifest(
    path: Path, *, latest_only: bool = False
) -> tuple[manifest.Manifest, list[StoredCollection]] | None:
    try:
        description = manifest.read(path.read_bytes())
        return description, [
            manifest.stored(description, entry, path.parent, latest_only=latest_only)
            for entry in description.collections
        ]
    except (FileNotFoundError, FormatError):
        return None


def _bare_files(folder: Path) -> list[StoredCollection]:
    """What the files alone say: without manifest, or in a folder that Komodo wrote."""
    return [
        _bare(path, latest_only=False) for path in sorted(folder.glob("*.gz")) if path.is_file()
    ]


def _bare(path: Path, *, latest_only: bool) -> StoredCollection:
    stem = path.name.removesuffix(".gz")
    # The whole of a cut name is in the manifest only; the file's own name is the next best.
    name = stem if is_cut(stem) else collection_name(stem)
    size = path.stat().st_size
    return StoredCollection(name, CollectionKind.COLLECTION, path, size, latest_only=latest_only)


def _latest(folder: Path) -> list[StoredCollection]:
    """The collections beside the dated folders, of which there is only the latest copy."""
    found = []
    for path in sorted(folder.glob("*.gz")):
        stem = path.name.removesuffix(".gz")
        size = path.stat().st_size
        # The second is there when a run was killed between its two renames.
        candidates = (folder / f"{stem}.{MANIFEST}", folder / f".{stem}.{MANIFEST}.next")
        described = [
            collection
            for candidate in candidates
            if (read := _read_manifest(candidate, latest_only=True)) is not None
            for collection in read[1]
            if collection.path == path
        ]
        if described:
            fitting = [collection for collection in described if collection.file_bytes == size]
            found.append((fitting or described)[0])
        elif stem == _KOMODO_LATEST_ONLY:
            found.append(_bare(path, latest_only=True))
    return found


class DatedWriter:
    """A dated folder in the making."""

    def __init__(
        self,
        path: Path,
        partial: Path,
        catalog: Catalog,
        form: Form,
    ) -> None:
        self.path = path
        self.encoding = form.encoding
        self._partial = partial
        self._form = form
        self._joiner = ThreadPoolExecutor(1, "fastdump-join")
        names = form.file_names(catalog)
        joined = JoinedLines if form.encoding is Encoding.JSON else JoinedFile
        self._files = {
            collection.name: joined(partial / names[collection.name], collection, self._joiner)
            for collection in catalog.collections
        }
        for folder in self._folders():
            folder.mkdir(mode=0o700, exist_ok=True)

    @property
    def name(self) -> str:
        """What the backup will be called."""
        return self.path.name

    def part_path(self, collection: str, number: int) -> Path:
        """Where a worker writes a chunk."""
        path = self._files[collection].path
        return path.with_name(f"{path.name}.{number:06d}")

    def add(self, collection: str, number: int, part: Part) -> None:
        """Take over a finished part; those of one collection are joined by their numbers."""
        self._files[collection].add(number, part)

    def report(self, collection: str) -> CollectionReport:
        """What the parts of a collection sum up to."""
        return self._files[collection].report()

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: str
    ) -> None:
        """Sync everything, then give it its name: the latest-only files first, the folder last."""
        with disk(self._partial):
            for file in self._files.values():
                file.finish()
            self._joiner.shutdown()
            self._sync_files()
            for name, content in self._form.further_files(catalog).items():
                write_synced(self._partial / name, content)
            own, latest = self._entries()

            def describe(name: str, entries: Sequence[manifest.Entry]) -> None:
                described = manifest.describe(catalog, started, ended, consistency, entries)
                write_synced(self._partial / name, manifest.write(described))

            describe(MANIFEST, own)
            for stem, entry in latest.items():
                describe(f"{stem}.{MANIFEST}", [entry])
            for folder in self._folders():
                sync(folder)
            # All content is on the disk. From here on, there are only renames.
            for stem in latest:
                self._replace_latest(stem)
            self._partial.rename(self.path)
            sync(self.path.parent)

    def abort(self) -> None:
        """Remove what was written so far; what was there before is untouched."""
        self._joiner.shutdown(cancel_futures=True)
        shutil.rmtree(self._partial, ignore_errors=True)

    def _folders(self) -> list[Path]:
        """Every folder of the backup, the inner ones first."""
        return [
            *({file.path.parent for file in self._files.values()} - {self._partial}),
            self._partial,
        ]

    def _sync_files(self) -> None:
        paths = [file.path for file in self._files.values() if file.collection.has_data]
        with ThreadPoolExecutor(_SYNC_THREADS, "fastdump-sync") as syncing:
            list(syncing.map(sync, paths))

    def _entries(self) -> tuple[list[manifest.Entry], dict[str, manifest.Entry]]:
        """Those of the folder, and those kept beside it by the stem of their file."""
        own: list[manifest.Entry] = []
        latest: dict[str, manifest.Entry] = {}
        for name, file in self._files.items():
            has_data = file.collection.has_data
            entry = manifest.entry(
                file.collection,
                str(file.path.relative_to(self._partial)) if has_data else None,
                file.report(),
                file.digest if has_data else None,
            )
            if has_data and name in self._form.latest_only:
                latest[file.path.name.removesuffix(".gz")] = entry
            else:
                own.append(entry)
        return own, latest

    def _replace_latest(self, stem: str) -> None:
        """Replace `Stats.gz` and its manifest so that at no moment a whole copy is missing."""
        folder = self.path.parent
        final = folder / f"{stem}.{MANIFEST}"
        pending = final.with_name(f".{final.name}.next")
        (self._partial / final.name).replace(pending)
        sync(folder)
        (self._partial / f"{stem}.gz").replace(folder / f"{stem}.gz")
        sync(folder)
        pending.replace(final)
        sync(folder)
