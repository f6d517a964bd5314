"""Check that the manifests and other small files of a backup are as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from fastdump.codec import gzip
from fastdump.errors import FormatError
from fastdump.layouts import manifest
from fastdump.layouts.folder_writer import MANIFEST
from fastdump.model import Backup, StoredCollection
from fastdump.report import Problem
from fastdump.storage.disk_errors import disk
from fastdump.storage.litter import entries, entries_below

__all__ = ["check_folder", "damaged_manifests"]


def check_folder(backup: Backup, collections: list[StoredCollection]) -> list[Problem]:
    """Return damaged manifests of a dated backup, and files that are not part of it.

    Args:
        backup: the backup.
        collections: the collections in its folder and beside it.

    Raises:
        StorageError: a file cannot be read.
    """
    folder = Path(backup.path)
    with disk(folder):
        kept = [*collections, *([backup.oplog] if backup.oplog else [])]
        own = {found.file.path for found in kept if found.file is not None}
        problems = list(_check_own(backup, own))
        # Check all manifests: in a damaged one, the database may be wrong.
        for path in entries(folder.parent):
            if path.name.endswith(f".{MANIFEST}"):
                problems += _check_manifest(path)
        for found in collections:
            if found.origin.latest_only and found.file is not None:
                problems += _check_latest(found.file.path)
    return problems


def damaged_manifests(backup: Backup, collections: list[StoredCollection]) -> list[Problem]:
    """Return the manifests of a dated backup that are damaged or were changed, if they are there.

    Args:
        backup: the backup.
        collections: the collections in its folder and beside it.

    Raises:
        StorageError: a file cannot be read.
    """
    paths = [Path(backup.path) / MANIFEST]
    for found in collections:
        if found.origin.latest_only and found.file is not None:
            stem = found.file.path.name.removesuffix(".gz")
            paths.append(found.file.path.with_name(f"{stem}.{MANIFEST}"))
    with disk(Path(backup.path)):
        return [one for path in paths if path.exists() for one in _check_manifest(path)]


def _check_latest(path: Path) -> Iterator[Problem]:
    """Check that a latest-only file has a manifest."""
    described = path.with_name(f"{path.name.removesuffix('.gz')}.{MANIFEST}")
    # If a run was killed between two renames, the new manifest still has this name.
    pending = described.with_name(f".{described.name}.next")
    if pending.exists():
        yield from _check_manifest(pending)
    elif not described.exists() and path.exists() and _is_ours(path):
        yield Problem(described, "the file is missing")


def _check_own(backup: Backup, own: set[Path]) -> Iterator[Problem]:
    folder = Path(backup.path)
    path = folder / MANIFEST
    if not path.exists():
        if any(_is_ours(file) for file in own if file.parent == folder):
            yield Problem(path, "the file is missing")
        return
    yield from _check_manifest(path)
    if not backup.has_manifest:
        return
    others = manifest.read(path.read_bytes()).others
    for name, digest in others.items():
        yield from _check_other(folder / name, digest)
    known = {path, *own, *(folder / name for name in others)}
    for file in entries_below(folder):
        if file not in known and not file.is_dir():
            yield Problem(file, "is not part of the backup")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return gzip.has_members(file.read(gzip.HEADER_BYTES))


def _check_manifest(path: Path) -> Iterator[Problem]:
    try:
        if not manifest.is_unchanged(path.read_bytes()):
            yield Problem(path, "was changed after it was written")
    except FileNotFoundError:
        yield Problem(path, "the file is missing")
    except FormatError as error:
        yield Problem(path, str(error))


def _check_other(path: Path, digest: str) -> Iterator[Problem]:
    if not path.is_file():
        yield Problem(path, "the file is missing")
    elif blake3(path.read_bytes()).hexdigest() != digest:
        yield Problem(path, "was changed after it was written")
