"""mongodump's folders: `<db>/<collection>.bson` and `.metadata.json`, plain or gzip.

Source: MongoDB Database Tools of August 2026, mongodump/prepare.go, mongodump/metadata_dump.go and
mongorestore/filepath.go. A file name is the collection's name as `url.QueryEscape` makes it; one
that would be longer than 238 bytes is cut and ends with `%24` and a hash, and only the metadata
knows the whole name.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote_plus, unquote_plus

import msgspec

from fastdump.errors import BackupDamagedError, BackupNotFoundError
from fastdump.model import (
    Backup,
    Catalog,
    Collection,
    CollectionKind,
    Encoding,
    StoredCollection,
)
from fastdump.store.base import disk
from fastdump.version import __version__

__all__ = ["MongodumpFolder", "MongodumpForm", "databases"]

_METADATA = ".metadata.json"
_DATA = ".bson"
_CUT_BYTES = 238
_KEPT_BYTES = 208
_CUT = "%24"
_ID_INDEX = {
    "v": msgspec.Raw(b'{"$numberInt":"2"}'),
    "key": msgspec.Raw(b'{"_id":{"$numberInt":"1"}}'),
    "name": msgspec.Raw(b'"_id_"'),
}
_BUCKETS = "system.buckets."
_DATA_IN_SYSTEM = frozenset({"system.js"})
_MAX_METADATA_BYTES = 64 * 1024 * 1024
_ID_DIRECTIONS = (
    "1",
    '{"$numberInt":"1"}',
    "1.0",
    '{"$numberDouble":"1.0"}',
    '{"$numberLong":"1"}',
)


class _Metadata(msgspec.Struct, frozen=True, rename={"collection_name": "collectionName"}):
    """What mongodump says of a collection."""

    options: msgspec.Raw = msgspec.Raw(b"{}")
    indexes: list[dict[str, msgspec.Raw]] | None = None
    collection_name: str | None = None
    type: str = ""


def databases(path: Path) -> list[Path]:
    """The folders of databases that mongodump wrote: that one, or those in it, or none.

    Raises:
        StorageError: the folder cannot be read.
    """
    with disk(path):
        if not path.is_dir():
            return []
        if _is_database(path):
            return [path]
        return [found for found in sorted(path.iterdir()) if found.is_dir() and _is_database(found)]


def _is_database(path: Path) -> bool:
    return any(_split(file)[1] for file in path.iterdir() if file.is_file())


def _split(path: Path) -> tuple[str, str]:
    """The stem of a file of mongodump's, and its kind: `.bson`, `.metadata.json`, or none."""
    name = path.name.removesuffix(".gz")
    for kind in (_METADATA, _DATA):
        # oplog.bson holds no collection, and prelude.json is about the server.
        if name.endswith(kind) and name != "oplog.bson":
            return name.removesuffix(kind), kind
    return "", ""


class MongodumpForm:
    """How mongodump lays out a dump, with --gzip: what mongorestore reads."""

    encoding = Encoding.BSON
    latest_only: frozenset[str] = frozenset()

    def file_names(self, catalog: Catalog) -> dict[str, str]:
        """The file of each collection, in the folder of its database."""
        return {
            collection.name: f"{catalog.database}/{_stem(collection.data_name)}{_DATA}.gz"
            for collection in catalog.collections
        }

    def further_files(self, catalog: Catalog) -> dict[str, bytes]:
        """The metadata of each collection, and what mongorestore wants to know of the server."""
        files = {
            f"{_stem(collection.name)}{_METADATA}.gz": _metadata(collection)
            for collection in catalog.collections
        }
        prelude = {
            "ServerVersion": catalog.server.version,
            "ToolVersion": f"fastdump {__version__}",
        }
        files["prelude.json.gz"] = msgspec.json.encode(prelude)
        return {
            f"{catalog.database}/{name}": gzip.compress(content, mtime=0)
            for name, content in files.items()
        }


def _stem(name: str) -> str:
    escaped = quote_plus(name)
    if len(escaped) <= _CUT_BYTES:
        return escaped
    digest = base64.urlsafe_b64encode(hashlib.sha1(name.encode(), usedforsecurity=False).digest())
    return f"{escaped[:_KEPT_BYTES]}{_CUT}{digest.decode().rstrip('=')}"


def _metadata(collection: Collection) -> bytes:
    options = msgspec.json.decode(collection.options, type=dict[str, msgspec.Raw])
    own = [msgspec.Raw(index.encode()) for index in collection.indexes]
    described = {
        **({"options": options} if options else {}),
        "indexes": [*_id_index(collection, options), *own],
        **({"uuid": collection.uuid} if collection.uuid else {}),
        "collectionName": collection.name,
        "type": collection.kind,
    }
    return msgspec.json.encode(described)


def _id_index(
    collection: Collection, options: dict[str, msgspec.Raw]
) -> Iterator[dict[str, msgspec.Raw]]:
    """The index on `_id` as the server lists it, which mongorestore hands to `create`."""
    if collection.kind is not CollectionKind.COLLECTION:
        return
    if "clusteredIndex" in options:
        index = msgspec.json.decode(options["clusteredIndex"], type=dict[str, msgspec.Raw])
        yield {**index, "clustered": msgspec.Raw(b"true")}
    elif "collation" in options:
        yield {**_ID_INDEX, "collation": options["collation"]}
    else:
        yield _ID_INDEX


class MongodumpFolder:
    """One database as mongodump wrote it.

    Args:
        path: the folder that is named after the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, name: str | None) -> Backup:  # noqa: ARG002 - there is only one
        """The database as a backup.

        Raises:
            BackupDamagedError: a metadata file cannot be understood.
            BackupNotFoundError: the folder is not there.
            StorageError: a file cannot be read.
        """
        if not self._path.is_dir():
            raise BackupNotFoundError(f"{self._path}: there is no such folder")
        with disk(self._path):
            return Backup(
                name=self._path.name,
                path=self._path,
                taken=datetime.fromtimestamp(self._path.stat().st_mtime),
                collections=tuple(self._collections()),
                has_manifest=True,
                database=self._path.name,
            )

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """What a restore of it brings back, and what the user should know of it."""
        wanted, notes = [], []
        for collection in backup.collections:
            if collection.name.startswith("$") or (
                collection.name.startswith("system.") and collection.name not in _DATA_IN_SYSTEM
            ):
                notes.append(f"{backup.path}: {collection.name} is not restored")
            else:
                wanted.append(collection)
        if any((self._path.parent / f"oplog{kind}").exists() for kind in (_DATA, f"{_DATA}.gz")):
            notes.append(
                f"{self._path.parent}: its oplog is not replayed, so that documents that changed "
                "while it was taken may be of different moments"
            )
        return wanted, notes

    def target(self, backup: Backup) -> str:  # noqa: ARG002 - there is only one
        """The database that was dumped, as with mongorestore."""
        return self._path.name

    def _collections(self) -> Iterator[StoredCollection]:
        files: dict[str, dict[str, Path]] = {}
        for path in sorted(self._path.iterdir()):
            stem, kind = _split(path)
            if kind and path.is_file():
                files.setdefault(stem, {})[kind] = path
        for stem, found in files.items():
            bucketed = stem.removeprefix(_BUCKETS)
            if bucketed != stem and _METADATA in files.get(bucketed, {}):
                continue  # the data of a time series, which is described under its own name
            yield self._collection(stem, found, files.get(f"{_BUCKETS}{stem}", {}))

    def _collection(
        self, stem: str, files: dict[str, Path], buckets: dict[str, Path]
    ) -> StoredCollection:
        described = files.get(_METADATA)
        metadata = _Metadata() if described is None else _read(described)
        name = unquote_plus(stem)
        if _CUT in stem and len(stem) == _CUT_BYTES:
            if metadata.collection_name is None:
                raise BackupDamagedError(
                    f"{self._path / stem}: its name was cut, and no metadata has the whole of it"
                )
            name = metadata.collection_name
        kind = _kind(metadata, buckets)
        path = (buckets if kind is CollectionKind.TIMESERIES else files).get(_DATA)
        return StoredCollection(
            name=name,
            kind=kind,
            path=path,
            file_bytes=path.stat().st_size if path else 0,
            options=bytes(metadata.options).decode(),
            indexes=tuple(_indexes(metadata)),
        )


def _kind(metadata: _Metadata, buckets: dict[str, Path]) -> CollectionKind:
    options = msgspec.json.decode(metadata.options, type=dict[str, msgspec.Raw])
    if metadata.type == CollectionKind.VIEW or "viewOn" in options:
        return CollectionKind.VIEW
    if metadata.type == CollectionKind.TIMESERIES or "timeseries" in options or buckets:
        return CollectionKind.TIMESERIES
    return CollectionKind.COLLECTION


def _indexes(metadata: _Metadata) -> Iterator[str]:
    """Every index but the one on `_id`, without the namespace that old servers put in."""
    for index in metadata.indexes or ():
        key = msgspec.json.decode(index.get("key", msgspec.Raw(b"{}")), type=dict[str, msgspec.Raw])
        if key.keys() == {"_id"}:
            direction = b"".join(bytes(key["_id"]).split()).decode()
            if direction in _ID_DIRECTIONS:
                continue
        yield msgspec.json.encode({k: v for k, v in index.items() if k != "ns"}).decode()


def _read(path: Path) -> _Metadata:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            # A bomb would otherwise be inflated without end.
            content = file.read(_MAX_METADATA_BYTES + 1)
        if len(content) > _MAX_METADATA_BYTES:
            raise BackupDamagedError(f"{path}: is larger than any description of a collection")
        return msgspec.json.decode(content, type=_Metadata) if content.strip() else _Metadata()
    except (
        msgspec.DecodeError, UnicodeDecodeError, RecursionError, EOFError, gzip.BadGzipFile,
    ) as error:  # fmt: skip
        raise BackupDamagedError(f"{path}: is no metadata of mongodump: {error}") from None
