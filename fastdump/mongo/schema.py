"""Create collections and views on the target as a backup describes them, and check the result.

Servers differ in the options that they know. An option that a server refuses is left out and
reported, so that the others still apply. Some servers accept an option and do something else, so
the created collection is compared with its definition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from bson import Binary
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from fastdump.codec.bson import without
from fastdump.codec.definitions import has_true, unmet
from fastdump.errors import FormatError
from fastdump.model import Bson, CollectionKind, Definition, LoadOptions, Namespace
from fastdump.mongo.bucket_access import access_to
from fastdump.mongo.client import (
    NAMESPACE_EXISTS,
    NAMESPACE_NOT_FOUND,
    STRICT,
    Client,
    Document,
    open_database,
)
from fastdump.mongo.confirming import check_confirmed
from fastdump.mongo.listing import list_collections, options_of
from fastdump.mongo.retry import passes

__all__ = [
    "Created",
    "Present",
    "compare",
    "count",
    "create",
    "drop",
    "drop_database",
    "existing",
    "fields",
    "is_capped",
    "reason",
]

_DEFINING = frozenset({"timeseries", "viewOn", "pipeline"})
"""Options that are always needed: without them the collection would be of another kind."""

_DEAD = frozenset(
    {"autoIndexId", "flags", "noPadding", "recordIdsReplicated", "temp", "usePowerOf2Sizes"}
)
"""Options without effect today, or without meaning for the user, which many servers refuse. Source:
the server's create.idl and collection_options.cpp, of all versions from 2.6 on."""

_OF_CAPPED = frozenset({"size", "max"})
"""Options of capped collections, which servers before 3.2 stored for any collection."""

_UNKNOWN_OPTION = re.compile(
    r"BSON field 'create\.([\w.]+)' is an unknown field"
    r"|[Tt]he field '([\w.]+)' is not a valid collection option"
)


@dataclass(frozen=True, slots=True)
class Present:
    """A collection or view that a server has."""

    kind: CollectionKind
    options: Bson


class Created(NamedTuple):
    """Result of creating a collection or view."""

    is_there: bool
    """True if documents can be written to it."""
    left_out: list[str]
    """Options that the server refused."""
    failures: list[str]
    """Messages for the user about everything that is not as in the backup."""


def fields(data: Bson) -> Document:
    """Return the fields of options or of an index; nested documents stay raw.

    Raises:
        FormatError: the document is malformed.
    """
    try:
        return dict(RawBSONDocument(data, STRICT))
    except BSONError as error:
        raise FormatError(f"a definition is not valid BSON: {error}") from None


def existing(client: Client, databases: Iterable[str]) -> dict[Namespace, Present]:
    """Return all collections and views of these databases.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    return {
        Namespace(name, entry["name"]): Present(
            CollectionKind(entry.get("type", "collection")), options_of(entry)
        )
        for name in databases
        for entry in list_collections(open_database(client, name))
    }


def count(client: Client, namespace: Namespace) -> int:
    """Return the server's own count of a collection's documents; 0 if it does not exist."""
    database = open_database(client, namespace.database)
    return int(database.command(access_to(client, namespace).command("count"))["n"])


def is_capped(client: Client, namespace: Namespace) -> bool:
    """Return True if there is a capped collection of that name.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    wanted = {"name": namespace.collection, "options.capped": True}
    database = open_database(client, namespace.database)
    return bool(database.command({"listCollections": 1, "filter": wanted})["cursor"]["firstBatch"])


def drop_database(client: Client, name: str) -> None:
    """Drop a database, if it exists.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    open_database(client, name).command({"dropDatabase": 1})


def drop(client: Client, namespace: Namespace, concern: Document) -> None:
    """Drop a collection, if it exists.

    Raises:
        PyMongoError: the server does not answer or refuses.
        ServerError: too few members confirmed the write.
    """
    confirming = {"writeConcern": concern}
    database = open_database(client, namespace.database)
    if namespace.collection == "system.js":
        # Servers do not allow to drop this one, so its documents are deleted.
        deletion = {"delete": "system.js", "deletes": [{"q": {}, "limit": 0}]}
        check_confirmed(database.command({**deletion, **confirming}), namespace, concern)
        return
    missing: list[str | int] = ["ns not found", NAMESPACE_NOT_FOUND]
    dropping = {"drop": namespace.collection, **confirming}
    check_confirmed(database.command(dropping, allowable_errors=missing), namespace, concern)


def create(client: Client, definition: Definition, how: LoadOptions, concern: Document) -> Created:
    """Create an empty collection or a view, with all options of the backup that the server accepts.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: too few members confirmed the write.
    """
    command = {"create": definition.namespace.collection, **_asked(definition, how)}
    left_out: list[str] = []
    while True:
        try:
            reply = _send(client, definition, command, how, concern)
        except OperationFailure as error:
            if passes(error):
                raise
            if error.code == NAMESPACE_EXISTS:
                return Created(True, left_out, [])
            refused = _refused(command, error)
            if not refused:
                said = f"{definition.namespace}: cannot be created: {reason(error)}"
                return Created(False, left_out, [said])
            for path in refused:
                _leave_out(command, path)
            left_out += refused
        else:
            check_confirmed(reply, definition.namespace, concern)
            return Created(True, left_out, [])


def _asked(definition: Definition, how: LoadOptions) -> Document:
    # A manifest is untrusted: its options must not turn this into another command.
    return {
        name: value
        for name, value in fields(definition.options).items()
        if name != "create" and name[:1] != "$" and (how.collection_options or name in _DEFINING)
    }


def _send(
    client: Client, definition: Definition, command: Document, how: LoadOptions, concern: Document
) -> Document:
    confirming = {"writeConcern": concern}
    if how.preserve_uuid and definition.uuid and definition.kind is CollectionKind.COLLECTION:
        applied = _applied(definition, command)
        return open_database(client, "admin").command({**applied, **confirming})
    database = open_database(client, definition.namespace.database)
    return database.command({**command, **confirming})


def _refused(command: Document, error: OperationFailure) -> list[str]:
    """Return the options that the server refused and that can be left out."""
    dead = _DEAD if command.get("capped") else _DEAD | _OF_CAPPED
    if found := [name for name in command if name in dead]:
        return found
    named = _UNKNOWN_OPTION.search(reason(error))
    path = (named[1] or named[2]) if named else ""
    return [path] if path and path not in _DEFINING and path.split(".")[0] in command else []


def _leave_out(command: Document, path: str) -> None:
    name, _dot, inner = path.partition(".")
    if inner and isinstance(command[name], RawBSONDocument):
        command[name] = RawBSONDocument(without(bytes(command[name].raw), inner.encode()))
    else:
        del command[name]


def compare(
    present: Present | None, definition: Definition, created: Created, how: LoadOptions
) -> Created:
    """Compare a collection on the server with its definition, and add the differences.

    Args:
        present: the collection as it is now; None if it does not exist.
        definition: the collection as it should be.
        created: the result of `create`.
        how: the user's choices about options.

    Returns:
        The result of `create` with further failures.
    """
    name, failures = definition.namespace, list(created.failures)
    if present is None:
        return created
    if present.kind is not definition.kind:
        failures.append(
            f"{name}: should be a {definition.kind}, but is a {present.kind} on the server; "
            "nothing was written to it"
        )
        return created._replace(is_there=False, failures=failures)
    said = {path.split(".")[0] for path in created.left_out}
    dead = _DEAD if has_true(definition.options, b"capped") else _DEAD | _OF_CAPPED
    wanted = _asked(definition, how).keys() - said - dead
    lost = [one for one in unmet(definition.options, present.options) if one in wanted]
    if lost:
        failures.append(f"{name}: the server did not apply {', '.join(lost)}")
    if unknown := [path for path in created.left_out if path not in dead]:
        failures.append(
            f"{name}: created without {', '.join(unknown)}, which the server does not know"
        )
    return created._replace(failures=failures, left_out=[p for p in created.left_out if p in dead])


def _applied(definition: Definition, command: Document) -> Document:
    """Return a command that creates a collection with a given UUID, which only `applyOps` can."""
    operation = {
        "op": "c",
        "ns": f"{definition.namespace.database}.$cmd",
        "ui": Binary.from_uuid(UUID(definition.uuid)),
        "o": command,
    }
    return {"applyOps": [operation]}


def reason(error: OperationFailure) -> str:
    """Return the server's own text of an error."""
    return str((error.details or {}).get("errmsg", error))
