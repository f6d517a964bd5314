"""What is there: collections with their options, indexes and sizes, and bounds to cut them at."""

from __future__ import annotations

from dataclasses import replace

import bson
from bson import json_util
from bson.errors import BSONError
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.errors import FormatError, UsageError
from fastdump.model import Catalog, Collection, CollectionKind, Connection, ExtendedJson
from fastdump.mongo.client import (
    Client,
    Document,
    open_database,
    server_info,
    translated,
)

__all__ = ["extended", "list_indexes", "parsed", "read_catalog"]

_DATA_IN_SYSTEM = frozenset({"system.js"})
"""The only collection under `system.` that holds data of the user's, not of the server's."""


def extended(value: object) -> ExtendedJson:
    """The canonical Extended JSON of a decoded value."""
    return json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS)


def parsed(text: ExtendedJson) -> Document:
    """The decoded value of canonical Extended JSON.

    Raises:
        FormatError: it is none.
    """
    try:
        value = json_util.loads(text, json_options=json_util.CANONICAL_JSON_OPTIONS)
    except (ValueError, TypeError, ArithmeticError, LookupError, BSONError) as error:
        raise FormatError(f"no Extended JSON: {text[:100]}: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(f"no document: {text[:100]}")
    return value


def read_catalog(client: Client, connection: Connection, name: str) -> Catalog:
    """The catalog of a database.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: there is no such database.
    """
    database = open_database(client, name)
    server = server_info(client, connection)
    with translated(connection):
        listed = [dict(entry) for entry in database.list_collections() if _is_data(entry["name"])]
        if not listed:
            raise UsageError(_no_database(database, connection))
        found = [_describe(database, entry) for entry in listed]
    return Catalog(name, server, tuple(sorted(found, key=lambda collection: collection.name)))


def _is_data(name: str) -> bool:
    return not name.startswith("system.") or name in _DATA_IN_SYSTEM


def _no_database(database: Database[Document], connection: Connection) -> str:
    message = f"there is no database {database.name!r} with collections on {connection.shown}"
    try:
        names = database.client.list_database_names()
    except OperationFailure:
        return f"{message}: name another with --db"
    others = [name for name in names if name not in {"admin", "config", "local", database.name}]
    if not others:
        return f"{message}, and no other either"
    return f"{message}: name another with --db (there are {', '.join(sorted(others))})"


def _describe(database: Database[Document], entry: Document) -> Collection:
    kind = CollectionKind(entry.get("type", "collection"))
    options = entry.get("options", {})
    collection = Collection(
        name=entry["name"],
        kind=kind,
        options=extended(options),
        indexes=(),
        documents=0,
        raw_bytes=0,
        capped=bool(options.get("capped")),
        uuid=_uuid(entry.get("info", {}).get("uuid")),
    )
    if not collection.has_data:
        return collection
    documents, raw_bytes = _sizes(database, collection.data_name)
    indexes = tuple(map(extended, list_indexes(database, entry["name"])))
    return replace(collection, indexes=indexes, documents=documents, raw_bytes=raw_bytes)


def _uuid(value: object) -> str | None:
    return value.hex() if isinstance(value, bytes) else None


def _sizes(database: Database[Document], name: str) -> tuple[int, int]:
    try:
        stats = database.command({"collStats": name})
    except OperationFailure:
        # Without the right, or on a server that lacks the command: the count alone is enough.
        return int(database.command({"count": name})["n"]), 0
    return int(stats.get("count", 0)), int(stats.get("size", 0))


def list_indexes(database: Database[Document], name: str) -> list[Document]:
    """A collection's indexes as the server lists them, without the one that `create` makes."""
    command = {"listIndexes": name, "cursor": {}}
    reply = database.command(command)["cursor"]
    found = list(reply["firstBatch"])
    while reply["id"]:
        reply = database.command({"getMore": bson.Int64(reply["id"]), "collection": name})["cursor"]
        found += reply["nextBatch"]
    return [
        {field: value for field, value in index.items() if field != "ns"}
        for index in found
        if index["key"] != {"_id": 1}
    ]
