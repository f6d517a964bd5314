"""Making collections and views on the target as a backup describes them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from bson import Binary
from pymongo.errors import OperationFailure

from fastdump.model import CollectionKind, Definition, ExtendedJson, LoadOptions, Namespace
from fastdump.mongo.catalog import extended, parsed
from fastdump.mongo.client import (
    NAMESPACE_EXISTS,
    NAMESPACE_NOT_FOUND,
    Client,
    Document,
    open_database,
)
from fastdump.mongo.retry import passes

__all__ = ["count", "create", "drop", "existing", "parsed", "reason"]

_DEFINING = {"timeseries", "viewOn", "pipeline"}
"""Options without which documents could not go where they belong."""


def existing(client: Client, databases: Iterable[str]) -> dict[Namespace, ExtendedJson]:
    """The options of each collection and view that these databases hold."""
    return {
        Namespace(name, entry["name"]): extended(entry.get("options", {}))
        for name in databases
        for entry in open_database(client, name).list_collections()
    }


def count(client: Client, namespace: Namespace) -> int:
    """About how many documents a collection holds; 0 where there is none."""
    database = open_database(client, namespace.database)
    return int(database.command({"count": namespace.collection})["n"])


def drop(client: Client, namespace: Namespace) -> None:
    """Drop a collection, if it is there."""
    database = open_database(client, namespace.database)
    if namespace.collection == "system.js":
        # The only one that a server lets nobody drop.
        database.command({"delete": "system.js", "deletes": [{"q": {}, "limit": 0}]})
        return
    missing: list[str | int] = ["ns not found", NAMESPACE_NOT_FOUND]
    database.command({"drop": namespace.collection}, allowable_errors=missing)


def create(client: Client, definition: Definition, how: LoadOptions) -> list[str]:
    """Make an empty collection, or a view, with the options of the backup.

    One that exists is left as it is.

    Returns:
        Nothing, or why it could not be made.
    """
    options = parsed(definition.options)
    # A manifest is untrusted: it must not turn this into another command.
    command = {"create": definition.namespace.collection} | {
        name: value
        for name, value in options.items()
        if name != "create" and name[:1] != "$" and (how.collection_options or name in _DEFINING)
    }
    try:
        if how.preserve_uuid and definition.uuid and definition.kind is CollectionKind.COLLECTION:
            _create_as(client, definition, command)
        else:
            open_database(client, definition.namespace.database).command(command)
    except OperationFailure as error:
        if passes(error):
            raise
        if error.code != NAMESPACE_EXISTS:
            return [f"{definition.namespace}: cannot be created: {reason(error)}"]
    return []


def _create_as(client: Client, definition: Definition, command: Document) -> None:
    """With the UUID of the original, which only the command that applies an oplog takes."""
    operation = {
        "op": "c",
        "ns": f"{definition.namespace.database}.$cmd",
        "ui": Binary.from_uuid(UUID(definition.uuid)),
        "o": command,
    }
    open_database(client, "admin").command({"applyOps": [operation]})


def reason(error: OperationFailure) -> str:
    """What the server says of it."""
    return str((error.details or {}).get("errmsg", error))
