"""Write and read manifest.json, which describes a backup; docs/formats.md describes the format.

A manifest may come from anywhere, so it is untrusted: decoding validates every field, and its
claims are compared with the files beside it before they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from blake3 import blake3

from fastdump.codec.extended_json import from_bson
from fastdump.codec.extended_json_reader import to_bson
from fastdump.errors import FormatError
from fastdump.model import (
    DEFAULT_DATABASE,
    LAYOUTS,
    Bson,
    Catalog,
    ClusterTime,
    Collection,
    CollectionKind,
    Consistency,
    Contents,
    Namespace,
    Origin,
    Piece,
    StoredCollection,
    StoredFile,
)
from fastdump.report import CollectionReport
from fastdump.version import __version__

__all__ = [
    "FORMAT",
    "NO_CHECKSUM",
    "Cuts",
    "Entry",
    "Manifest",
    "StoredPiece",
    "describe",
    "entry",
    "is_sealed",
    "is_unchanged",
    "read",
    "sealed",
    "stored",
    "write",
]

_DEEPEST = 2  # a file in the folder of its database, as mongodump has it

FORMAT = 1
"""Version of the format. A reader refuses a higher one, since it could not know what it misses."""

NO_CHECKSUM = "0" * 64
"""The value of the field `checksum` while the checksum is computed."""

_Time = Annotated[str, msgspec.Meta(pattern=r"^\d{1,10}:\d{1,10}$")]
"""A cluster time: seconds since 1970 and a counter, as in `--oplog-limit`."""

_Size = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Server(msgspec.Struct, frozen=True):
    """Server that the data came from."""

    address: str
    version: str
    topology: str


class Exact(msgspec.Struct, frozen=True):
    """Options and indexes of a collection as BSON, each in base64."""

    options: Bson
    indexes: list[Bson]


class StoredPiece(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a repository, as an array."""

    name: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    documents: _Size
    raw_bytes: _Size
    file_bytes: _Size


class Cuts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The places where a collection was cut, so that the next backup cuts it there again."""

    ids: list[bytes] = []
    """BSON of `{_id: bound}`, in base64."""
    by_filter: bool = False
    """As `Bounds.by_filter`."""


class Entry(msgspec.Struct, frozen=True):
    """Description of one collection."""

    name: str
    type: CollectionKind
    file: str | None
    """File of the collection, in the same folder or one folder deeper; null for a view."""
    documents: _Size
    raw_bytes: _Size
    file_bytes: _Size
    digest: str | None
    """Hexadecimal BLAKE3 over the BLAKE3 (32 bytes) of each member, in the order of the file; in a
    repository over the names of pieces."""
    options: msgspec.Raw
    """The options of the collection, in canonical Extended JSON."""
    indexes: list[msgspec.Raw]
    """The description of each index, in canonical Extended JSON."""
    database: str | None = None
    """Database, if the manifest as a whole names none."""
    uuid: str | None = None
    """UUID of the collection on the server, 32 hexadecimal digits."""
    bson: Exact | None = None
    """Options and indexes as BSON, since Extended JSON cannot express everything; null in older
    manifests."""
    pieces: list[StoredPiece] | msgspec.UnsetType = msgspec.UNSET
    """Pieces that hold the documents, in a repository."""
    cuts: Cuts | msgspec.UnsetType = msgspec.UNSET
    """Places where the collection was cut, in a repository."""


class Manifest(msgspec.Struct, frozen=True):
    """Content of manifest.json."""

    format: int
    tool: str
    database: str | None
    """Database that was backed up; null if there are several."""
    server: Server
    started: datetime
    ended: datetime
    consistency: str
    collections: list[Entry]
    layout: str = LAYOUTS[0]
    others: dict[str, str] = {}
    """Other files of the backup, each with the hexadecimal BLAKE3 of its content."""
    checksum: str = ""
    """Hexadecimal BLAKE3 of the manifest itself, computed with zeros in this field."""
    moment: datetime | None = None
    """Moment that all documents are of; null if they are of different moments."""
    cluster_time: _Time | None = None
    """The same moment as a cluster time."""
    key: str | msgspec.UnsetType = msgspec.UNSET
    """The key of the names of its pieces, hexadecimal, in an encrypted repository."""
    generation: str | msgspec.UnsetType = msgspec.UNSET
    """The generation of the encrypted repository that it belongs to."""
    exceptions: list[str] = []
    """Collections, as `database.collection`, whose documents are of a later moment."""

    @property
    def how_consistent(self) -> Consistency:
        """The consistency of the backup."""
        at = None
        if self.cluster_time is not None:
            seconds, increment = map(int, self.cluster_time.split(":"))
            at = ClusterTime(seconds, increment)
        return Consistency(self.consistency, self.moment, at, tuple(self.exceptions))

    @property
    def databases(self) -> tuple[str, ...]:
        """The names of all databases in the backup, sorted."""
        names = (_first(entry.database, self.database) for entry in self.collections)
        # The oplog belongs to no database.
        return tuple(sorted({name for name in (self.database, *names) if name}))


def describe(
    catalog: Catalog,
    layout: str,
    started: datetime,
    ended: datetime,
    consistency: Consistency,
    entries: Iterable[Entry],
    others: Mapping[str, bytes] | None = None,
    form: int = FORMAT,
) -> Manifest:
    """Return the manifest of a backup in that layout."""
    server = Server(catalog.server.address, catalog.server.version, catalog.server.topology)
    return Manifest(
        form,
        f"fastdump {__version__}",
        catalog.database,
        server,
        started,
        ended,
        consistency.mode,
        list(entries),
        layout,
        {name: blake3(content).hexdigest() for name, content in (others or {}).items()},
        NO_CHECKSUM,
        consistency.moment,
        None if consistency.cluster_time is None else str(consistency.cluster_time),
        exceptions=list(consistency.exceptions),
    )


def entry(
    collection: Collection, file: str | None, report: CollectionReport, digest: str | None
) -> Entry:
    """Return the manifest's entry for a collection."""
    return Entry(
        collection.name,
        collection.kind,
        file,
        report.documents,
        report.raw_bytes,
        report.file_bytes,
        digest,
        msgspec.Raw(from_bson(collection.options).encode()),
        [msgspec.Raw(from_bson(index).encode()) for index in collection.indexes],
        collection.database,
        collection.uuid,
        Exact(collection.options, list(collection.indexes)),
    )


def write(manifest: Manifest, indent: int = 2) -> bytes:
    """Return the manifest as the content of a file, with its checksum; without indent, one line."""
    return sealed(msgspec.json.format(msgspec.json.encode(manifest), indent=indent) + b"\n")


def sealed(content: bytes) -> bytes:
    """Return the text of a JSON object with its checksum where it has `NO_CHECKSUM`."""
    field = b'"checksum": "%b"'
    empty = field % NO_CHECKSUM.encode()
    return content.replace(empty, field % blake3(content).hexdigest().encode())


def is_sealed(content: bytes, checksum: str) -> bool:
    """Return True if a text is byte for byte what `sealed` returned; `checksum` is in it."""
    original = content.replace(checksum.encode(), NO_CHECKSUM.encode())
    return checksum != "" and blake3(original).hexdigest() == checksum


def is_unchanged(content: bytes, newest: int = FORMAT) -> bool:
    """Return True if a manifest is byte for byte as it was written.

    Raises:
        FormatError: the content is not a valid manifest.
    """
    return is_sealed(content, read(content, newest).checksum)


def read(content: bytes, newest: int = FORMAT) -> Manifest:
    """Return the manifest in a file's content, of that format or an older one.

    Raises:
        FormatError: the content is not a valid manifest, or has a later version of the format.
    """
    try:
        content.decode()  # raises an error for fields that stay raw, too
        version = _VERSIONS.decode(content).format
        if version > newest:
            raise FormatError(f"format {version} needs a newer fastdump than {__version__}")
        return _MANIFESTS.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"the manifest is not valid: {error}") from error


def _first(*names: str | None) -> str:
    return next((name for name in names if name is not None), "")


class _Version(msgspec.Struct):
    format: int


# Made when this module is imported, by one thread. msgspec examines a type when it is first needed,
# and if several threads read their first manifest at the same time, that ends the process
# (msgspec 0.22: in 12 of 40 runs of 16 threads).
_VERSIONS = msgspec.json.Decoder(_Version)
_MANIFESTS = msgspec.json.Decoder(Manifest)


def stored(
    manifest: Manifest, entry: Entry, folder: Path, *, latest_only: bool
) -> StoredCollection:
    """Return the collection that an entry of a manifest in that folder describes.

    Raises:
        FormatError: the file of the entry would be outside the folder.
    """
    parts = [] if entry.file is None else entry.file.split("/")
    if len(parts) > _DEEPEST or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise FormatError(f"the file name {entry.file!r} leads outside the folder")
    exact = _exact(entry)
    return StoredCollection(
        Namespace(_first(entry.database, manifest.database, DEFAULT_DATABASE), entry.name),
        entry.type,
        _stored_file(entry, folder),
        exact.options,
        tuple(exact.indexes),
        entry.uuid,
        Contents(entry.documents, entry.raw_bytes, entry.digest),
        Origin(manifest.started, latest_only),
    )


def _stored_file(entry: Entry, folder: Path) -> StoredFile | None:
    if entry.pieces is not msgspec.UNSET:
        pieces = (
            Piece(bytes.fromhex(one.name), one.documents, one.raw_bytes, one.file_bytes)
            for one in entry.pieces
        )
        return StoredFile(folder, entry.file_bytes, tuple(pieces))
    return None if entry.file is None else StoredFile(folder / entry.file, entry.file_bytes)


def _exact(entry: Entry) -> Exact:
    """Return the options and indexes of an entry as BSON.

    An invalid definition is returned as it is, so that the backup can be listed; it is checked when
    the definition is needed.
    """
    return entry.bson or Exact(_read(entry.options), [_read(one) for one in entry.indexes])


def _read(text: msgspec.Raw) -> Bson:
    try:
        return to_bson(bytes(text))
    except FormatError:
        return bytes(text)
