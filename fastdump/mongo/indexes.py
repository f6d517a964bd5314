"""Build indexes as a backup describes them, and convert those of old servers for new ones."""

from __future__ import annotations

from collections.abc import Sequence

import bson
from bson.decimal128 import Decimal128
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.codec.bson import element
from fastdump.codec.definitions import differing, unmet
from fastdump.codec.extended_json import from_bson
from fastdump.errors import FormatError
from fastdump.model import NO_OPTIONS, Bson, Connection, Definition, LoadOptions
from fastdump.mongo import schema
from fastdump.mongo.bucket_access import Access, access_to
from fastdump.mongo.client import (
    NAMESPACE_NOT_FOUND,
    UNAUTHORIZED,
    Client,
    Document,
    is_in_a_set,
    open_database,
)
from fastdump.mongo.confirming import build_watched, check_confirmed, write_concern
from fastdump.mongo.listing import list_indexes
from fastdump.mongo.retry import passes
from fastdump.mongo.schema import reason

__all__ = ["converted", "create", "described", "is_readable"]

_SHOWN = 100
_NO_TEXT = "its name or an option is text that is not UTF-8, so it cannot be sent"
_DEFAULT_VERSION = 2
_MEANINGLESS = frozenset({"background", "ns"})
"""Options that change nothing, and that some servers forget."""
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
"""Known fields of an index. Servers before 3.4 also stored unknown ones. Source: the server's
index_descriptor.h."""


def is_readable(index: Bson) -> bool:
    """Return True if all text at the top level of a valid index description is UTF-8."""
    try:
        schema.fields(index)
    except FormatError:
        return False
    return True


def described(index: Bson) -> Document:
    """Return the fields of a backup's description of an index; nested documents stay raw.

    Raises:
        FormatError: the document does not describe an index.
    """
    found = schema.fields(index)
    if not isinstance(found.get("key"), RawBSONDocument) or not isinstance(found.get("name"), str):
        raise FormatError(f"not a description of an index: {from_bson(index)[:_SHOWN]}")
    return found


def converted(index: Document) -> tuple[Document, list[str]]:
    """Return an index of an old server in a form that new ones accept, and the changes as text.

    Before 3.4 servers accepted any value as a direction, and any option.
    """
    changed = []
    try:
        own = dict(index["key"])
    except BSONError:
        return index, []  # a field's name that is not UTF-8
    key = {field: _direction(value) for field, value in own.items()}
    if not all(_equal(key[field], own[field]) for field in key):
        changed.append(f"its key is now {key}, not {own}")
        index = {**index, "key": key}
    if unknown := [name for name in index if name not in _KNOWN]:
        changed.append(f"the unknown options {', '.join(unknown)} were removed")
    kept = {name: _option(name, value) for name, value in index.items() if name in _KNOWN}
    changed += [
        f"{name} is now {kept[name]}, not {index[name]}"
        for name in kept
        if not _equal(kept[name], index[name])
    ]
    return kept, changed


def _equal(one: object, other: object) -> bool:
    """Return True if both values are the same; for ==, 1 equals True, and NaN not itself."""
    return one is other or (type(one) is type(other) and one == other)


def _direction(value: object) -> object:
    """Return a valid direction of an index; old servers took 0 and other types for 1."""
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
        # Servers treat NaN as this number, with which newer ones never expire a document.
        return _NEVER
    return value


_NEVER = 2**31 - 1


def create(
    client: Client,
    connection: Connection,
    definition: Definition,
    how: LoadOptions,
    *,
    is_new: bool = False,
) -> list[str]:
    """Build all indexes of a collection in one command, which reads its documents once.

    Indexes that the target already has, exactly as wanted, are left alone.

    Args:
        client: the server.
        connection: its time of retrying.
        definition: the collection and its indexes.
        how: the user's choices about indexes.
        is_new: True if the collection was just created, so that it has no indexes.

    Returns:
        A message for each index that could not be built as wanted, with its name and the reason.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: too few members confirmed the indexes.
    """
    database = open_database(client, definition.namespace.database)
    source = access_to(client, definition.namespace)
    concern = write_concern(client, connection, how.write_concern)
    options: Document = {"writeConcern": concern}
    if is_in_a_set(client):
        # By default the building of indexes waits for a member that is down until it is back.
        options["commitQuorum"] = concern.get("w", "majority")
    there = () if is_new else _present(database, source) or ()
    present = [_portable(index, definition, how) for index in there]
    readable = [index for index in definition.indexes if is_readable(index)]
    wanted = [_portable(converted(described(i))[0], definition, how) for i in readable]
    indexes = [index for index in wanted if not any(_same(index, one) for one in present)]
    refused = _build_all(database, source, indexes, options)
    built = [index for index in indexes if index["name"] not in refused]
    said = {**refused, **_different(database, source, built)}
    said |= {from_bson(one)[:_SHOWN]: _NO_TEXT for one in definition.indexes if one not in readable}
    return [f"{definition.namespace}: index {index}: {why}" for index, why in said.items()]


def _build_all(
    database: Database[Document],
    source: Access,
    indexes: Sequence[Document],
    options: Document,
) -> dict[str, str]:
    """Build indexes; return the names of those that could not be built, with reasons."""
    refused: dict[str, str] = {}
    try:
        _build(database, source, indexes, options)
    except OperationFailure as error:
        if passes(error):
            raise
        if len(indexes) == 1:
            return _build_without_expiry(database, source, indexes[0], options, error)
        # One of them is the cause: build each by itself, to find it and to build the others.
        for index in indexes:
            refused |= _build_all(database, source, [index], options)
    return refused


def _build_without_expiry(
    database: Database[Document],
    source: Access,
    index: Document,
    options: Document,
    error: OperationFailure,
) -> dict[str, str]:
    """Build a refused index again without its expiry, if that means never.

    MongoDB 5.0 refuses expiries that reach back before 1970 (seen on 5.0.4). An index without an
    expiry also never expires a document.
    """
    if index.get("expireAfterSeconds") != _NEVER:
        return {index["name"]: reason(error)}
    kept = {field: index[field] for field in index if field != "expireAfterSeconds"}
    return _build_all(database, source, [kept], options)


def _different(
    database: Database[Document], source: Access, built: Sequence[Document]
) -> dict[str, str]:
    """Return the names of indexes that the server built differently, with the differences."""
    listed = _present(database, source) if built else []
    if listed is None:
        return {}
    present = {index["name"]: bson.encode(index) for index in listed}
    found = {}
    for index in built:
        got = present.get(index["name"], NO_OPTIONS)
        lost = [one for one in unmet(bson.encode(index), got) if one not in _MEANINGLESS]
        if lost:
            found[index["name"]] = f"the server did not apply {', '.join(lost)}"
    return found


def _same(one: Document, other: Document) -> bool:
    """Return True if two indexes are equal byte for byte, except for the order of options."""
    return not differing(bson.encode(one), bson.encode(other))


def _present(database: Database[Document], source: Access) -> list[Document] | None:
    """Return the indexes of a collection; None if the user may not list them."""
    try:
        return [described(index) for index in list_indexes(database, source) if is_readable(index)]
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:
            return []  # the collection could not be created, and nothing was inserted
        if error.code == UNAUTHORIZED:
            return None  # the role `restore` may build indexes, but not list them
        raise


def _build(
    database: Database[Document],
    source: Access,
    indexes: Sequence[Document],
    options: Document,
) -> None:
    if not indexes:
        return
    command = {**source.command("createIndexes"), "indexes": list(indexes), **options}
    concern = options["writeConcern"]
    is_watched = options.get("commitQuorum", 1) != 1
    build = build_watched if is_watched else _build_at_once
    reply = build(database, command, concern)
    check_confirmed(reply, f"the indexes of {database.name}.{source.collection}", concern)


def _build_at_once(database: Database[Document], command: Document, _concern: Document) -> Document:
    return database.command(command)


def _portable(index: Document, definition: Definition, how: LoadOptions) -> Document:
    """Return the index without fields that a server other than its own might not accept."""
    if not how.keep_index_version or index.get("v") == _DEFAULT_VERSION:
        # Every server uses this version by default, and some refuse the field.
        index = {field: value for field, value in index.items() if field != "v"}
    elif _is_simple(index.get("collation")):
        # Newer servers list the default collation, but none accepts it for an index of version 1.
        index = {field: value for field, value in index.items() if field != "collation"}
    if "collation" not in index and element(definition.options, b"collation"):
        # The original has no collation, but without one it would inherit the collection's.
        return {**index, "collation": {"locale": "simple"}}
    return index


def _is_simple(collation: object) -> bool:
    return isinstance(collation, RawBSONDocument) and collation.get("locale") == "simple"
