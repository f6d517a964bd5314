"""What is there: collections with their options, indexes and sizes, and bounds to cut them at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bson
from bson import MaxKey, MinKey, json_util
from bson.errors import BSONError
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.errors import FormatError, UsageError
from fastdump.model import Catalog, Collection, CollectionKind, Connection, ExtendedJson
from fastdump.mongo.client import (
    RAW,
    Document,
    connect,
    open_database,
    server_info,
    translated,
)

__all__ = ["extended", "list_indexes", "parsed", "read_catalog", "sample_bounds"]

_SAMPLES_PER_BOUND = 20
"""Quantiles of so many samples each leave chunks within about a quarter of their mean size."""

_ENDS = (bson.encode({"_id": MinKey()}), bson.encode({"_id": MaxKey()}))

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


def read_catalog(connection: Connection, name: str) -> Catalog:
    """The catalog of a database.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: there is no such database.
    """
    with connect(connection) as client:
        database = open_database(client, name)
        server = server_info(client, connection)
        with translated(connection):
            listed = [
                dict(entry) for entry in database.list_collections() if _is_data(entry["name"])
            ]
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
    )
    if not collection.has_data:
        return collection
    documents, raw_bytes = _sizes(database, collection.data_name)
    indexes = tuple(map(extended, list_indexes(database, entry["name"])))
    return Collection(
        collection.name,
        kind,
        collection.options,
        indexes,
        documents,
        raw_bytes,
        collection.capped,
    )


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


def sample_bounds(connection: Connection, name: str, source: str, pieces: int) -> list[bytes]:
    """Bounds that cut a collection into about equal pieces by `_id`, in the server's order.

    Returns:
        At most `pieces - 1` documents `{_id: bound}` as BSON, without repetitions, and without
        MinKey and MaxKey, between which and the end there is no range; none where the server
        cannot sample.

    Raises:
        ServerError: the server cannot be reached.
    """
    pipeline = [
        {"$sample": {"size": pieces * _SAMPLES_PER_BOUND}},
        {"$project": {"_id": 1}},
        {"$sort": {"_id": 1}},
    ]
    command: dict[str, Any] = {
        "aggregate": source,
        "pipeline": pipeline,
        "cursor": {"batchSize": pieces * _SAMPLES_PER_BOUND + 1},
    }
    with connect(connection) as client, translated(connection):
        try:
            reply = open_database(client, name).command(command, codec_options=RAW)
        except OperationFailure:
            return []
        ids = [bytes(document.raw) for document in reply["cursor"]["firstBatch"]]
    return _quantiles(ids, pieces)


def _quantiles(ids: Sequence[bytes], pieces: int) -> list[bytes]:
    picked = (ids[len(ids) * piece // pieces] for piece in range(1, pieces)) if ids else ()
    return [bound for bound in dict.fromkeys(picked) if bound not in _ENDS]
