"""List a server's collections and indexes as BSON."""

from __future__ import annotations

from collections.abc import Iterator

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from fastdump.codec.definitions import further_indexes
from fastdump.errors import ServerError
from fastdump.model import NO_OPTIONS, Bson
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import STRICT, Document

__all__ = ["list_collections", "list_indexes", "options_of"]


def list_collections(database: Database[Document]) -> Iterator[Document]:
    """Yield the server's entry for each collection; nested documents stay raw.

    Raises:
        PyMongoError: the server does not answer or refuses.
        ServerError: the name of a collection is not UTF-8.
    """
    for entry in _listing(database, {"listCollections": 1}, "$cmd.listCollections"):
        name = entry["name"]
        try:
            yield {**RawBSONDocument(entry.raw, STRICT), "name": name}
        except BSONError:
            raise ServerError(
                f"the name of the collection {database.name}.{name} is not UTF-8, so it cannot be "
                "read: rename it"
            ) from None


def options_of(entry: Document) -> Bson:
    """Return the options of a collection, from an entry of `list_collections`."""
    options = entry.get("options")
    return bytes(options.raw) if isinstance(options, RawBSONDocument) else NO_OPTIONS


def list_indexes(database: Database[Document], source: Access) -> tuple[Bson, ...]:
    """Return a collection's indexes as the server lists them, without the one on `_id`.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    listed = _listing(database, source.command("listIndexes"), source.collection)
    return further_indexes(bytes(index.raw) for index in listed)


def _listing(
    database: Database[Document], command: Document, source: str
) -> Iterator[RawBSONDocument]:
    """Yield the documents of a listing command, undecoded.

    PyMongo's own methods decode them, which changes values that Python's types cannot represent.
    """
    reply = database.command({**command, "cursor": {}})["cursor"]
    yield from reply["firstBatch"]
    while reply["id"]:
        more = {"getMore": bson.Int64(reply["id"]), "collection": source}
        reply = database.command(more)["cursor"]
        yield from reply["nextBatch"]
