"""What mongodump says of a collection: in a `.metadata.json`, and in the head of an archive.

Source: MongoDB Database Tools of August 2026, mongodump/metadata_dump.go.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fastdump.errors import FormatError
from fastdump.model import Collection, CollectionKind

__all__ = ["Metadata", "describe", "read"]

_ID_INDEX = {
    "v": msgspec.Raw(b'{"$numberInt":"2"}'),
    "key": msgspec.Raw(b'{"_id":{"$numberInt":"1"}}'),
    "name": msgspec.Raw(b'"_id_"'),
}
_ID_DIRECTIONS = (
    "1",
    '{"$numberInt":"1"}',
    "1.0",
    '{"$numberDouble":"1.0"}',
    '{"$numberLong":"1"}',
)


class Metadata(msgspec.Struct, frozen=True, rename={"collection_name": "collectionName"}):
    """The description of a collection, as far as a restore needs it."""

    options: msgspec.Raw = msgspec.Raw(b"{}")
    indexes: list[dict[str, msgspec.Raw]] | None = None
    uuid: str | None = None
    collection_name: str | None = None
    type: str = ""

    @property
    def kind(self) -> CollectionKind:
        """What is described."""
        options = msgspec.json.decode(self.options, type=dict[str, msgspec.Raw])
        if self.type == CollectionKind.VIEW or "viewOn" in options:
            return CollectionKind.VIEW
        if self.type == CollectionKind.TIMESERIES or "timeseries" in options:
            return CollectionKind.TIMESERIES
        return CollectionKind.COLLECTION

    @property
    def further_indexes(self) -> tuple[str, ...]:
        """Every index but the one on `_id`, without the namespace that old servers put in."""
        return tuple(
            msgspec.json.encode({k: v for k, v in index.items() if k != "ns"}).decode()
            for index in self.indexes or ()
            if not _is_id_index(index)
        )


def _is_id_index(index: dict[str, msgspec.Raw]) -> bool:
    key = msgspec.json.decode(index.get("key", msgspec.Raw(b"{}")), type=dict[str, msgspec.Raw])
    if key.keys() != {"_id"}:
        return False
    return b"".join(bytes(key["_id"]).split()).decode() in _ID_DIRECTIONS


def read(content: bytes) -> Metadata:
    """The metadata in that text; none is an ordinary collection without indexes.

    Raises:
        FormatError: it is none.
    """
    try:
        content.decode()  # what stays raw is not looked at otherwise
        found = msgspec.json.decode(content, type=Metadata) if content.strip() else Metadata()
        # Both are looked at only when asked for.
        _ = found.kind, found.further_indexes
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"is no metadata of mongodump: {error}") from None
    return found


def describe(collection: Collection) -> bytes:
    """The metadata of a collection."""
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
