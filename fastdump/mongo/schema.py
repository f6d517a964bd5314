"""Making collections, views and indexes on the target as a backup describes them."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.errors import FormatError
from fastdump.model import Definition, ExtendedJson
from fastdump.mongo.catalog import extended, list_indexes, parsed
from fastdump.mongo.client import Document

__all__ = ["check_index", "count", "create", "create_indexes", "drop", "existing", "parsed"]

_NAMESPACE_NOT_FOUND = 26
_NAMESPACE_EXISTS = 48
_DEFAULT_INDEX_VERSION = 2


def existing(database: Database[Document]) -> dict[str, ExtendedJson]:
    """The options of each collection and view that a database holds, by name."""
    return {
        entry["name"]: extended(entry.get("options", {})) for entry in database.list_collections()
    }


def count(database: Database[Document], name: str) -> int:
    """About how many documents a collection holds; 0 where there is none."""
    return int(database.command({"count": name})["n"])


def check_index(index: ExtendedJson) -> None:
    """Check that a backup's description of an index is one.

    Raises:
        FormatError: it is none.
    """
    described = parsed(index)
    if not isinstance(described.get("key"), dict) or not isinstance(described.get("name"), str):
        raise FormatError(f"no index: {index[:100]}")


def drop(database: Database[Document], name: str) -> None:
    """Drop a collection, if it is there."""
    database.command({"drop": name}, allowable_errors=["ns not found", _NAMESPACE_NOT_FOUND])


def create(database: Database[Document], definition: Definition) -> list[str]:
    """Make an empty collection, or a view, with the options of the backup.

    One that exists is left as it is.

    Returns:
        Nothing, or why it could not be made.
    """
    options = parsed(definition.options)
    # A manifest is untrusted: it must not turn this into another command.
    command = {"create": definition.name} | {
        name: value for name, value in options.items() if name != "create" and name[:1] != "$"
    }
    try:
        database.command(command)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            return [f"{definition.name}: cannot be created: {_reason(error)}"]
    return []


def create_indexes(
    database: Database[Document], definition: Definition, write_concern: Document
) -> list[str]:
    """Build all of a collection's indexes in one command, which reads its documents once.

    Those that the target has already, just so, are left alone.

    Returns:
        For each index that could not be built, its name and the server's reason.
    """
    present = [_portable(index, definition) for index in _present(database, definition.name)]
    wanted = [_portable(parsed(index), definition) for index in definition.indexes]
    indexes = [index for index in wanted if index not in present]
    try:
        _build(database, definition.name, indexes, write_concern)
    except OperationFailure as error:
        if len(indexes) == 1:
            return [f"{definition.name}: index {indexes[0]['name']}: {_reason(error)}"]
    else:
        return []
    # One of them is at fault: build the others, and learn which.
    failures = []
    for index in indexes:
        try:
            _build(database, definition.name, [index], write_concern)
        except OperationFailure as error:
            failures.append(f"{definition.name}: index {index['name']}: {_reason(error)}")
    return failures


def _present(database: Database[Document], name: str) -> list[Document]:
    try:
        return list_indexes(database, name)
    except OperationFailure as error:
        if error.code != _NAMESPACE_NOT_FOUND:
            raise
        return []  # it could not be created, and nothing was inserted


def _build(
    database: Database[Document], name: str, indexes: Sequence[Document], write_concern: Document
) -> None:
    if indexes:
        database.command(
            {"createIndexes": name, "indexes": list(indexes), "writeConcern": write_concern}
        )


def _portable(index: Document, definition: Definition) -> Document:
    """The index for another server, which may know less than the one that it comes from."""
    if index.get("v") == _DEFAULT_INDEX_VERSION:
        # What every server makes by itself; some of the protocol refuse to be told.
        index = {field: value for field, value in index.items() if field != "v"}
    if "collation" in parsed(definition.options) and "collation" not in index:
        # It would inherit the collection's, where the original has none.
        return {**index, "collation": {"locale": "simple"}}
    return index


def _reason(error: OperationFailure) -> str:
    return str((error.details or {}).get("errmsg", error))
