"""Write and read mongodump's metadata of a collection, in `.metadata.json` or an archive's head.

Source: MongoDB Database Tools of August 2026, mongodump/metadata_dump.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from fastdump.codec.bson import element, elements
from fastdump.codec.definitions import further_indexes
from fastdump.codec.extended_json import from_bson
from fastdump.codec.extended_json_reader import to_bson
from fastdump.errors import FormatError
from fastdump.model import NO_OPTIONS, Bson, Collection, CollectionKind

__all__ = ["Metadata", "describe", "read"]

_ID_INDEX = {
    "v": msgspec.Raw(b'{"$numberInt":"2"}'),
    "key": msgspec.Raw(b'{"_id":{"$numberInt":"1"}}'),
    "name": msgspec.Raw(b'"_id_"'),
}
_STRING, _DOCUMENT, _ARRAY, _NULL = 0x02, 0x03, 0x04, 0x0A


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of a collection's metadata that a restore needs."""

    options: Bson = NO_OPTIONS
    indexes: tuple[Bson, ...] = ()
    """The indexes except the one on `_id`."""
    uuid: str | None = None
    collection_name: str | None = None
    """Name of the collection; None from tools before 4.4."""
    old_name: str | None = None
    """Name of the collection in the description of an index, as servers before 4.4 add it."""
    type: str = ""

    @property
    def kind(self) -> CollectionKind:
        """The kind of the collection."""
        if self.type == CollectionKind.VIEW or element(self.options, b"viewOn"):
            return CollectionKind.VIEW
        if self.type == CollectionKind.TIMESERIES or element(self.options, b"timeseries"):
            return CollectionKind.TIMESERIES
        return CollectionKind.COLLECTION


def read(content: bytes) -> Metadata:
    """Return the metadata in a text; an empty text means a plain collection without indexes.

    Raises:
        FormatError: the text is not metadata of mongodump.
    """
    if not content.strip():
        return Metadata()
    try:
        found = to_bson(content)
        indexes = list(_documents(next(_values(found, b"indexes", _ARRAY), NO_OPTIONS)))
        names = (_string(index, b"ns") for index in indexes)
        return Metadata(
            options=next(_values(found, b"options", _DOCUMENT), NO_OPTIONS),
            indexes=further_indexes(indexes),
            uuid=_string(found, b"uuid"),
            collection_name=_string(found, b"collectionName"),
            old_name=next((name.partition(".")[2] for name in names if name), None),
            type=_string(found, b"type") or "",
        )
    except FormatError as error:
        raise FormatError(f"not valid metadata of mongodump: {error}") from None


def _values(data: Bson, name: bytes, kind: int) -> Iterator[bytes]:
    """Yield the value of a field, if it exists; raise a FormatError if it has another type."""
    found = element(data, name)
    if found is None or found.kind == _NULL:
        return
    if found.kind != kind:
        raise FormatError(f"{name.decode()} has the wrong type")
    yield data[found.value : found.end]


def _documents(array: bytes) -> Iterator[Bson]:
    for found in elements(array):
        if found.kind != _DOCUMENT:
            raise FormatError("an index is not a document")
        yield array[found.value : found.end]


def _string(data: Bson, name: bytes) -> str | None:
    return next((value[4:-1].decode() for value in _values(data, name, _STRING)), None)


def describe(collection: Collection) -> bytes:
    """Return the metadata of a collection."""
    options = msgspec.json.decode(from_bson(collection.options), type=dict[str, msgspec.Raw])
    own = [msgspec.Raw(from_bson(index).encode()) for index in collection.indexes]
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
    """Yield the index on `_id` as the server lists it, which mongorestore passes to `create`."""
    if collection.kind is not CollectionKind.COLLECTION:
        return
    if "clusteredIndex" in options:
        index = msgspec.json.decode(options["clusteredIndex"], type=dict[str, msgspec.Raw])
        yield {**index, "clustered": msgspec.Raw(b"true")}
    elif "collation" in options:
        yield {**_ID_INDEX, "collation": options["collation"]}
    else:
        yield _ID_INDEX
