"""The layout `mongodump`: `<db>/<collection>.bson` and `.metadata.json`, plain or gzip.

Sources: MongoDB Database Tools of August 2026, mongodump/prepare.go and mongorestore/filepath.go,
and their tags r3.2.0, r4.2.0 and 100.0.0.

A file name is the collection's name escaped with `url.QueryEscape`. If it would be longer than 238
bytes, it is shortened and ends with `%24` and a hash; then only the field `collectionName` of the
metadata has the whole name. mongodump 4.2 escaped names with `url.PathEscape`, which does not
change a plus, and older versions did not escape them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote_plus, unquote, unquote_plus

import msgspec

from fastdump.errors import BackupDamagedError, BackupNotFoundError, FormatError
from fastdump.layouts import mongodump_metadata as metadata
from fastdump.layouts.file_names import OPLOG_FILE
from fastdump.layouts.segments import FileReader
from fastdump.model import (
    OPLOG,
    Backup,
    Catalog,
    CollectionKind,
    Encoding,
    Namespace,
    StoredCollection,
    StoredFile,
)
from fastdump.report import Problem
from fastdump.storage.disk_errors import disk
from fastdump.storage.litter import about_litter, entries
from fastdump.version import __version__

__all__ = ["MongodumpFile", "MongodumpFolder", "MongodumpForm", "oplog_of"]

_METADATA = ".metadata.json"
_DATA = ".bson"
_OLD_DATA = ".bin"
"""An old ending that mongorestore treats like `.bson`; no program writes it today."""
_CUT_BYTES = 238
_KEPT_BYTES = 208
_CUT = "%24"
_TOOL = "fastdump"
_MANIFEST = "manifest.json"
_BUCKETS = "system.buckets."
_OPLOG_FILES = (OPLOG_FILE, f"{OPLOG_FILE}.gz")
_MAX_METADATA_BYTES = 64 * 1024 * 1024


class MongodumpForm:
    """Form of the layout `mongodump`, which mongorestore reads.

    Args:
        level: of gzip, as `mongodump --gzip`; None for plain files.
    """

    layout = "mongodump"
    encoding = Encoding.BSON
    latest_only: frozenset[str] = frozenset()

    def __init__(self, level: int | None) -> None:
        self.level = level
        self._suffix = "" if level is None else ".gz"

    def file_names(self, catalog: Catalog) -> dict[Namespace, str]:
        """Return the file of each collection, in the folder of its database."""
        names = {
            collection.namespace: f"{_path(collection.data)}{_DATA}{self._suffix}"
            for collection in catalog.collections
        }
        return {**names, OPLOG: OPLOG_FILE}

    def further_files(self, catalog: Catalog) -> dict[str, bytes]:
        """Return the metadata of each collection, and the file that tells the server's version."""
        files = {
            f"{_path(collection.namespace)}{_METADATA}": metadata.describe(collection)
            for collection in catalog.collections
            if not collection.name.startswith("$") and collection.namespace != OPLOG
        }
        prelude = {
            "ServerVersion": catalog.server.version,
            "ToolVersion": f"{_TOOL} {__version__}",
        }
        for database in {collection.database for collection in catalog.collections} - {""}:
            files[f"{database}/prelude.json"] = msgspec.json.encode(prelude)
        return {f"{name}{self._suffix}": self._packed(content) for name, content in files.items()}

    def _packed(self, content: bytes) -> bytes:
        return content if self.level is None else gzip.compress(content, mtime=0)


def _path(namespace: Namespace) -> str:
    if namespace.collection.startswith("$"):
        # The users and roles of one database: mongorestore looks for exactly this name.
        return f"{namespace.database}/{namespace.collection}"
    escaped = quote_plus(namespace.collection)
    if len(escaped) <= _CUT_BYTES:
        return f"{namespace.database}/{escaped}"
    name = namespace.collection.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha1(name, usedforsecurity=False).digest())
    short = f"{escaped[:_KEPT_BYTES]}{_CUT}{digest.decode().rstrip('=')}"
    return f"{namespace.database}/{short}"


def oplog_of(path: Path) -> StoredCollection:
    """Return the oplog in a file, plain or gzip.

    Raises:
        BackupNotFoundError: there is no such file.
        StorageError: the file cannot be read.
    """
    with disk(path):
        if not path.is_file():
            raise BackupNotFoundError(f"{path}: there is no such file, or it is a folder")
        size = path.stat().st_size
    return StoredCollection(OPLOG, file=StoredFile(path, size))


class MongodumpFolder:
    """Source that reads one or several databases as mongodump wrote them.

    Args:
        path: the folder of a database, or a folder of such folders, or one with only an oplog.
    """

    stream = None
    reader = FileReader()

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def recognised(cls, path: Path) -> MongodumpFolder | None:
        """Return a source for the folder if mongodump wrote it, otherwise None.

        Raises:
            StorageError: the folder cannot be read.
        """
        found = cls(path)
        with disk(path):
            is_it = path.is_dir() and (found._databases() or found._oplog() is not None)
            return found if is_it else None

    def find(self, name: str | None) -> Backup:  # noqa: ARG002 - there is only one
        """Return the whole folder as a backup.

        Raises:
            BackupDamagedError: a metadata file is not valid.
            BackupNotFoundError: the folder does not exist.
            StorageError: a file cannot be read.
        """
        with disk(self._path):
            databases = self._databases()
            found = [one for database in databases for one in _collections(database)]
            _check_names(self._path, found)
            names = tuple(database.name for database in databases)
            return _backup(self._path, names, found, self._oplog())

    def _oplog(self) -> StoredCollection | None:
        """Return the oplog beside the folders of databases; inside of one it is a collection."""
        if _is_database(self._path):
            return None
        paths = (self._path / name for name in _OPLOG_FILES)
        return next((oplog_of(path) for path in paths if path.is_file()), None)

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """Return the collections that a restore brings back, and notes for the user."""
        with disk(self._path):
            inner = [path for path in self._databases() if path != self._path]
            notes = about_litter(self._path, *inner)
        return list(backup.collections), [*notes, *_doubtful(backup)]

    def damaged_definitions(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """Return nothing: damage is found when definitions are read."""
        return []

    def problems(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """Return a problem if fastdump wrote the folder and its manifest is missing."""
        return [
            Problem(self._path / _MANIFEST, "the file is missing")
            for prelude in (*self._path.glob("prelude.json*"), *self._path.glob("*/prelude.json*"))
            if _is_ours(prelude)
            and not any((place / _MANIFEST).exists() for place in (self._path, self._path.parent))
        ][:1]

    def _databases(self) -> list[Path]:
        if _is_database(self._path):
            return [self._path]
        return [path for path in entries(self._path) if path.is_dir() and _is_database(path)]


class MongodumpFile:
    """Source that reads one collection as mongodump wrote it, with its metadata beside the file.

    Args:
        path: the file; its folder has the name of the database.
    """

    stream = None
    reader = FileReader()

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def recognised(cls, path: Path) -> bool:
        """Return True if a file contains documents, judged by its name."""
        return _split(path)[1] == _DATA

    def find(self, name: str | None) -> Backup:  # noqa: ARG002 - there is only one
        """Return the collection as a backup.

        Raises:
            BackupDamagedError: the metadata are not valid, or those of a time series, which cannot
                be created without them, are missing.
            StorageError: a file cannot be read.
        """
        stem, _kind = _split(self._path)
        series = stem.removeprefix(_BUCKETS)
        with disk(self._path):
            files = {_DATA: self._path}
            beside = _metadata_of(self._path, series)
            described = {} if beside is None else {_METADATA: beside}
            if series != stem and not described:
                raise BackupDamagedError(
                    f"{self._path}: the buckets of a time series cannot be restored without "
                    f"{series}{_METADATA} beside them"
                )
            database = self._path.absolute().parent
            if series == stem:
                found = _collection(database, stem, {**described, **files}, {})
            else:
                found = _collection(database, series, described, files)
            return _backup(self._path, (database.name,), [found], None)

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """Return the collections that a restore brings back, and notes for the user."""
        return list(backup.collections), list(_doubtful(backup))

    def damaged_definitions(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """Return nothing: damage is found when definitions are read."""
        return []

    def problems(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """Return nothing: mongodump's files have no manifest to compare with."""
        return []


def _backup(
    path: Path,
    databases: tuple[str, ...],
    collections: list[StoredCollection],
    oplog: StoredCollection | None,
) -> Backup:
    changed = path.stat().st_mtime
    return Backup(
        name=path.name,
        path=path,
        taken=datetime.fromtimestamp(changed),
        made=datetime.fromtimestamp(changed, UTC),
        collections=tuple(collections),
        has_manifest=True,
        layout="mongodump",
        databases=databases,
        oplog=oplog,
    )


def _check_names(path: Path, collections: list[StoredCollection]) -> None:
    """Check that no two files contain the same collection, as escaped and plain names might."""
    counts = Counter(one.namespace for one in collections)
    for name in (name for name, count in counts.items() if count > 1):
        files = [str(one.file.path) for one in collections if one.namespace == name and one.file]
        raise BackupDamagedError(
            f"{path}: {' and '.join(files)} contain the same collection {name}: remove one of them"
        )


def _doubtful(backup: Backup) -> Iterator[str]:
    """Yield notes about files whose collection's name is not certain."""
    for one in backup.collections:
        if one.file is None:
            continue
        path, stem = one.file.path, _split(one.file.path)[0]
        if "+" in stem and _metadata_of(path, stem) is None:
            yield (
                f"{path}: there are no metadata with the name of the collection; it is taken "
                f"as {one.name!r}, which mongodump since 4.4 means by this file name"
            )


def _metadata_of(path: Path, stem: str) -> Path | None:
    """Return the file with the metadata of a collection, which is beside its documents."""
    beside = (path.with_name(f"{stem}{_METADATA}{end}") for end in ("", ".gz"))
    return next((one for one in beside if one.is_file()), None)


def _is_ours(prelude: Path) -> bool:
    try:
        with gzip.open(prelude, "rb") if prelude.suffix == ".gz" else prelude.open("rb") as file:
            return _TOOL.encode() in file.read(_MAX_METADATA_BYTES)
    except (OSError, EOFError, zlib.error):
        return False


def _is_database(path: Path) -> bool:
    files = (file for file in entries(path) if file.is_file())
    return any(_split(file)[1] for file in files if file.name not in _OPLOG_FILES)


def _split(path: Path) -> tuple[str, str]:
    """Return the stem of a file of mongodump's, and its kind: `.bson`, `.metadata.json` or ""."""
    name = path.name.removesuffix(".gz")
    for kind in (_METADATA, _DATA):
        if name.endswith(kind):
            return name.removesuffix(kind), kind
    if path.suffix == _OLD_DATA:
        return path.stem, _DATA
    return "", ""


def _collections(database: Path) -> Iterator[StoredCollection]:
    files: dict[str, dict[str, Path]] = {}
    for path in entries(database):
        stem, kind = _split(path)
        if kind and path.is_file():
            other = files.setdefault(stem, {}).setdefault(kind, path)
            if other != path:
                raise BackupDamagedError(
                    f"{other} and {path} contain the same collection: remove one of them"
                )
    for stem, found in files.items():
        bucketed = stem.removeprefix(_BUCKETS)
        if bucketed != stem and _METADATA in files.get(bucketed, {}):
            continue  # the data of a time series, which is described under its own name
        yield _collection(database, stem, found, files.get(f"{_BUCKETS}{stem}", {}))


def _collection(
    database: Path, stem: str, files: dict[str, Path], buckets: dict[str, Path]
) -> StoredCollection:
    described = files.get(_METADATA)
    found = metadata.Metadata() if described is None else _read(described)
    if _CUT in stem and len(stem) == _CUT_BYTES and found.collection_name is None:
        raise BackupDamagedError(
            f"{database / stem}: the name of this file is shortened, and there are no metadata "
            "with the whole name of the collection"
        )
    name = _name(stem, found, is_described=described is not None)
    kind = CollectionKind.TIMESERIES if buckets else found.kind
    path = files.get(_DATA)
    if kind is CollectionKind.TIMESERIES:
        # From MongoDB 8.3 and later, mongodump writes buckets under the name of their series.
        path = buckets.get(_DATA, path)
    file = None if path is None else StoredFile(path, path.stat().st_size)
    namespace = Namespace(database.name, name)
    return StoredCollection(namespace, kind, file, found.options, found.indexes, found.uuid)


def _name(stem: str, found: metadata.Metadata, *, is_described: bool) -> str:
    """Return the name of the collection whose files have that stem."""
    if found.collection_name is not None and _CUT in stem and len(stem) == _CUT_BYTES:
        return found.collection_name
    if found.collection_name is not None or not is_described:
        return unquote_plus(stem)
    return stem if found.old_name == stem else unquote(stem)


def _read(path: Path) -> metadata.Metadata:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            # The limit stops a gzip bomb, which would be inflated without end.
            content = file.read(_MAX_METADATA_BYTES + 1)
        if len(content) > _MAX_METADATA_BYTES:
            raise BackupDamagedError(f"{path}: too large for the metadata of a collection")
        return metadata.read(content)
    except FormatError as error:
        raise BackupDamagedError(f"{path}: {error}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BackupDamagedError(f"{path}: not valid metadata of mongodump: {error}") from None
