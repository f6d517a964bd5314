"""The details of collections: options and UUID from their list, sizes and indexes by asking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymongo.errors import OperationFailure

from fastdump.codec.definitions import has_true
from fastdump.model import Collection, CollectionKind, Connection
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import NAMESPACE_NOT_FOUND, Client, Document, open_database
from fastdump.mongo.counts import read_sizes
from fastdump.mongo.listing import list_indexes, options_of
from fastdump.mongo.retry import retrying
from fastdump.mongo.round_trip import ask_each

__all__ = ["describe_each", "of_entry", "uuid_of"]


def of_entry(database: str, entry: Document) -> Collection:
    """Return what an entry of the list says of a collection."""
    collection = Collection(
        database=database,
        name=entry["name"],
        kind=CollectionKind(entry.get("type", "collection")),
        options=(options := options_of(entry)),
        indexes=(),
        documents=0,
        raw_bytes=0,
        capped=has_true(options, b"capped"),
        uuid=uuid_of(entry),
        query=entry.get("query"),
    )
    is_view = entry.get("is_view", False)
    return replace(collection, read_from=collection.namespace) if is_view else collection


def describe_each(
    client: Client,
    connection: Connection | None,
    found: Sequence[Collection],
    *,
    sizes: bool = True,
) -> list[Collection | None]:
    """Return collections with their sizes and indexes; None for those that were dropped meanwhile.

    Args:
        client: the server.
        connection: its time of retrying, for each collection by itself; None for no retrying.
        found: the collections without sizes and indexes.
        sizes: False to leave out the sizes.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """

    def describe(one: Collection) -> Collection | None:
        try:
            ask = retrying(connection).wraps(_describe) if connection else _describe
            return ask(client, one, sizes=sizes)
        except OperationFailure as error:
            if error.code != NAMESPACE_NOT_FOUND:
                raise
            return None

    return ask_each(client, describe, found)


def _describe(client: Client, collection: Collection, *, sizes: bool) -> Collection:
    if not collection.has_data or collection.read_from is not None:
        return collection  # counting the documents of a view would run its pipeline
    documents, raw_bytes = read_sizes(client, collection.data) if sizes else (0, 0)
    database = open_database(client, collection.database)
    indexes = list_indexes(database, Access(collection.name))
    return replace(collection, indexes=indexes, documents=documents, raw_bytes=raw_bytes)


def uuid_of(entry: Document) -> str | None:
    """Return the UUID in an entry of the list of collections, 32 hexadecimal digits."""
    value = entry.get("info", {}).get("uuid")
    return value.hex() if isinstance(value, bytes) else None
