"""Building indexes as a backup describes them, and making those of old servers fit new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bson.decimal128 import Decimal128
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.errors import FormatError
from fastdump.model import Definition, ExtendedJson, LoadOptions
from fastdump.mongo.catalog import list_indexes, parsed
from fastdump.mongo.client import (
    NAMESPACE_NOT_FOUND,
    UNAUTHORIZED,
    Client,
    Document,
    open_database,
    write_concern,
)
from fastdump.mongo.retry import passes
from fastdump.mongo.schema import reason

__all__ = ["check", "converted", "create"]

_DEFAULT_VERSION = 2
_FLAGS = frozenset({"unique", "sparse", "hidden", "background"})

_KNOWN = frozenset(
    {
        "2dsphereIndexVersion", "background", "bits", "bucketSize", "clustered",
        "coarsestIndexedLevel", "collation", "columnstoreProjection", "default_language",
        "expireAfterSeconds", "finestIndexedLevel", "hidden", "key", "language_override",
        "max", "min", "name", "originalSpec", "partialFilterExpression", "prepareUnique",
        "sparse", "storageEngine", "textIndexVersion", "unique", "v", "weights",
        "wildcardProjection",
    }
)  # fmt: skip
"""What a description of an index may hold. Servers before 3.4 stored whatever they were told;
source: the server's index_descriptor.h."""


def check(index: ExtendedJson) -> None:
    """Check that a backup's description of an index is one.

    Raises:
        FormatError: it is none.
    """
    described = parsed(index)
    if not isinstance(described.get("key"), dict) or not isinstance(described.get("name"), str):
        raise FormatError(f"no index: {index[:100]}")


def converted(index: Document) -> tuple[Document, list[str]]:
    """An index of an old server as a new one takes it, and what was changed.

    Before 3.4 the server took any value for a direction, and any option.
    """
    changed = []
    key = {field: _direction(value) for field, value in index["key"].items()}
    if not all(_equal(key[field], index["key"][field]) for field in key):
        changed.append(f"its key is now {key}, not {index['key']}")
    if unknown := [name for name in index if name not in _KNOWN]:
        changed.append(f"it lost the unknown options {', '.join(unknown)}")
    kept = {name: _option(name, value) for name, value in index.items() if name in _KNOWN}
    changed += [
        f"{name} is now {kept[name]}, not {index[name]}"
        for name in kept
        if name != "key" and not _equal(kept[name], index[name])
    ]
    return {**kept, "key": key}, changed


def _equal(one: object, other: object) -> bool:
    """To Python, 1 and True are equal."""
    return type(one) is type(other) and one == other


def _direction(value: object) -> object:
    """A direction of an index: what is no number but 0 and no text counted as 1."""
    if isinstance(value, bool):
        return 1
    if isinstance(value, int | float):
        return value or 1
    if isinstance(value, Decimal128):
        return value if value.to_decimal() else 1
    return value if isinstance(value, str) and value else 1


def _option(name: str, value: object) -> object:
    if name in _FLAGS and not isinstance(value, bool):
        return bool(value)
    if name == "expireAfterSeconds" and isinstance(value, float) and value != value:
        # The server takes NaN for this; it is what newer ones call never.
        return _NEVER
    return value


_NEVER = 2**31 - 1


def create(client: Client, definition: Definition, how: LoadOptions) -> list[str]:
    """Build all of a collection's indexes in one command, which reads its documents once.

    Those that the target has already, just so, are left alone.

    Returns:
        For each index that could not be built, its name and the server's reason.
    """
    database = open_database(client, definition.namespace.database)
    name = definition.namespace.collection
    options: Document = {"writeConcern": write_concern(client, how.write_concern)}
    if "setName" in client.admin.command("hello"):
        # By default a member that is down holds up the building of indexes until it is back.
        options["commitQuorum"] = "majority"
    present = [_portable(index, definition, how) for index in _present(database, name)]
    wanted = [_portable(converted(parsed(i))[0], definition, how) for i in definition.indexes]
    indexes = [index for index in wanted if not any(_same(index, one) for one in present)]
    try:
        _build(database, name, indexes, options)
    except OperationFailure as error:
        if passes(error):
            raise
        if len(indexes) == 1:
            return [f"{definition.namespace}: index {indexes[0]['name']}: {reason(error)}"]
    else:
        return []
    # One of them is at fault: build the others, and learn which.
    failures = []
    for index in indexes:
        try:
            _build(database, name, [index], options)
        except OperationFailure as error:
            if passes(error):
                raise
            failures.append(f"{definition.namespace}: index {index['name']}: {reason(error)}")
    return failures


def _same(one: Document, other: Document) -> bool:
    """Whether they are equal; the order of a key's fields is part of its meaning."""
    return one == other and list(one["key"]) == list(other["key"])


def _present(database: Database[Document], name: str) -> list[Document]:
    try:
        return list_indexes(database, name)
    except OperationFailure as error:
        # It could not be created, and nothing was inserted; or the user, as one with the role
        # `restore`, may build indexes and not list them.
        if error.code not in (NAMESPACE_NOT_FOUND, UNAUTHORIZED):
            raise
        return []


def _build(
    database: Database[Document],
    name: str,
    indexes: Sequence[Document],
    options: Mapping[str, object],
) -> None:
    if indexes:
        database.command({"createIndexes": name, "indexes": list(indexes), **options})


def _portable(index: Document, definition: Definition, how: LoadOptions) -> Document:
    """The index for another server, which may know less than the one that it comes from."""
    if not how.keep_index_version or index.get("v") == _DEFAULT_VERSION:
        # What every server makes by itself; some of the protocol refuse to be told.
        index = {field: value for field, value in index.items() if field != "v"}
    if "collation" in parsed(definition.options) and "collation" not in index:
        # It would inherit the collection's, where the original has none.
        return {**index, "collation": {"locale": "simple"}}
    return index
