"""The files in a folder of dated backups: files that a manifest describes, and files without one.

Of some collections only the latest copy is kept, beside the dated folders, with its own manifest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastdump.codec import gzip
from fastdump.codec.lines import is_text
from fastdump.errors import FormatError
from fastdump.layouts import manifest
from fastdump.layouts.file_names import collection_name, is_cut
from fastdump.layouts.folder_writer import MANIFEST
from fastdump.model import (
    DEFAULT_DATABASE,
    LAYOUTS,
    Contents,
    Namespace,
    Origin,
    StoredCollection,
    StoredFile,
)
from fastdump.storage.litter import entries

__all__ = ["bare_files", "latest_only_files", "owner_of", "path_of", "read_manifest"]

_KOMODO_LATEST_ONLY = "Stats"


def read_manifest(
    path: Path, *, latest_only: bool = False
) -> tuple[manifest.Manifest, list[StoredCollection]] | None:
    """Return a manifest and the collections that it describes; None if it is missing or invalid."""
    try:
        description = manifest.read(path.read_bytes())
        return description, [
            manifest.stored(description, entry, path.parent, latest_only=latest_only)
            for entry in description.collections
        ]
    except (FileNotFoundError, FormatError):
        return None


def bare_files(folder: Path) -> list[StoredCollection]:
    """Return the collections of a folder without a manifest, such as one that Komodo wrote."""
    found = [path for path in entries(folder) if path.suffix == ".gz" and path.is_file()]
    return [_bare(path, latest_only=False) for path in found]


def path_of(latest: StoredCollection) -> Path:
    """Return the path of the file of a latest-only collection."""
    assert latest.file is not None  # noqa: S101 - it was found by its file
    return latest.file.path


def owner_of(latest: StoredCollection) -> str | None:
    """Return the database that a latest-only file is of; None if nothing describes it."""
    return None if latest.contents.documents is None else latest.namespace.database


def latest_only_files(folder: Path) -> list[StoredCollection]:
    """Return the latest-only collections, whose files are beside the dated folders."""
    names = [path.name for path in entries(folder)]
    stems = {name.removesuffix(".gz") for name in names if name.endswith(".gz")}
    # Also those of which only the manifest is left: their file is reported as missing.
    stems |= {name.removesuffix(f".{MANIFEST}") for name in names if name.endswith(f".{MANIFEST}")}
    found = (_latest_only_file(folder, stem) for stem in sorted(stems))
    return [one for one in found if one is not None]


def _latest_only_file(folder: Path, stem: str) -> StoredCollection | None:
    path = folder / f"{stem}.gz"
    size = path.stat().st_size if path.exists() else -1
    # The second manifest exists if a run was killed between its two renames.
    candidates = (folder / f"{stem}.{MANIFEST}", folder / f".{stem}.{MANIFEST}.next")
    described = [
        (read[0], collection)
        for candidate in candidates
        if (read := read_manifest(candidate, latest_only=True)) is not None
        for collection in read[1]
        if collection.file is not None and collection.file.path == path
    ]
    for _description, collection in described:
        if collection.file_bytes == size:
            return collection
    if described:
        return _or_replaced(*described[0], size)
    is_komodos = stem == _KOMODO_LATEST_ONLY and path.exists()
    return _bare(path, latest_only=True) if is_komodos else None


def _or_replaced(
    description: manifest.Manifest, collection: StoredCollection, size: int
) -> StoredCollection:
    """Return a collection whose file has another size than described: damaged, or Komodo's own.

    Komodo's own backup replaces the latest-only file by one with lines of JSON, and leaves our
    manifest. Then only the definitions in that are of use.
    """
    path = path_of(collection)
    if size < 0 or description.layout != LAYOUTS[0] or not _has_lines(path):
        return collection
    return replace(
        collection,
        file=StoredFile(path, size),
        contents=Contents(),
        origin=replace(collection.origin, was_replaced=True),
    )


def _has_lines(path: Path) -> bool:
    try:
        return is_text(next(gzip.stream(path), b""))
    except FormatError:
        return False


def _bare(path: Path, *, latest_only: bool) -> StoredCollection:
    stem = path.name.removesuffix(".gz")
    # Only a manifest has the whole of a shortened name; without it, use the file's own name.
    name = stem if is_cut(stem) else collection_name(stem)
    size = path.stat().st_size
    return StoredCollection(
        Namespace(DEFAULT_DATABASE, name),
        file=StoredFile(path, size),
        origin=Origin(latest_only=latest_only),
    )
