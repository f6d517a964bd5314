"""Making collections and views on the target as a backup describes them, and looking at the result.

Servers differ in the options that they know. One that a server refuses must not cost the others: it
is left out, and said. Some servers say yes and do something else, so that what is there afterwards
is compared with what was asked for.
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
    "existing",
    "fields",
    "is_capped",
    "reason",
]

_DEFINING = frozenset({"timeseries", "viewOn", "pipeline"})
"""Options without which documents could not go where they belong."""

_DEAD = frozenset(
    {"autoIndexId", "flags", "noPadding", "recordIdsReplicated", "temp", "usePowerOf2Sizes"}
)
"""Options that mean nothing any more, or nothing to the user, and that many servers refuse. Source:
the server's create.idl and collection_options.cpp, of all versions from 2.6 on."""

_OF_CAPPED = frozenset({"size", "max"})
"""Options that servers of before 3.2 stored for any collection."""

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
    """What became of a collection that was to be made."""

    is_there: bool
    """Whether it can be filled."""
    left_out: list[str]
    """Options without which it had to be made."""
    failures: list[str]


def fields(data: Bson) -> Document:
    """Return the fields of options or of an index; what is nested in them stays raw.

    Raises:
        FormatError: the document is malformed.
    """
    try:
        return dict(RawBSONDocument(data, STRICT))
    except BSONError as error:
        raise FormatError(f"a definition is not valid BSON: {error}") from None


def existing(client: Client, databases: Iterable[str]) -> dict[Namespace, Present]:
    """Return each collection and view that these databases hold.

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
    """About how many documents a collection holds; 0 where there is none."""
    database = open_database(client, namespace.database)
    return int(database.command(access_to(client, namespace).command("count"))["n"])


def is_capped(client: Client, namespace: Namespace) -> bool:
    """Return whether there is a capped collection of that name.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    wanted = {"name": namespace.collection, "options.capped": True}
    database = open_database(client, namespace.database)
    return bool(database.command({"listCollections": 1, "filter": wanted})["cursor"]["firstBatch"])


def drop(client: Client, namespace: Namespace, concern: Document) -> None:
    """Drop a collection, if it is there.

    Raises:
        PyMongoError: the server does not answer or refuses.
        ServerError: it could not have that confirmed.
    """
    confirming = {"writeConcern": concern}
    database = open_database(client, namespace.database)
    if namespace.collection == "system.js":
        # The only one that a server lets nobody drop.
        deletion = {"delete": "system.js", "deletes": [{"q": {}, "limit": 0}]}
        check_confirmed(database.command({**deletion, **confirming}), namespace, concern)
        return
    missing: list[str | int] = ["ns not found", NAMESPACE_NOT_FOUND]
    dropping = {"drop": namespace.collection, **confirming}
    check_confirmed(database.command(dropping, allowable_errors=missing), namespace, concern)


def create(client: Client, definition: Definition, how: LoadOptions, concern: Document) -> Created:
    """Make an empty collection, or a view, with those options of the backup that the server takes.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: it could not have that confirmed.
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
    # A manifest is untrusted: it must not turn this into another command.
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
    """Return the options that the server refuses, as far as it can do without them."""
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
    """Compare what the server made of a definition with what it was asked for.

    Args:
        present: what is there now.
        definition: what was asked for.
        created: what `create` said.
        how: what the user wants of the options.
    """
    name, failures = definition.namespace, list(created.failures)
    if present is None:
        return created
    if present.kind is not definition.kind:
        failures.append(
            f"{name}: should be a {definition.kind}, and the server made a "
            f"{present.kind} of it; nothing was written into it"
        )
        return created._replace(is_there=False, failures=failures)
    said = {path.split(".")[0] for path in created.left_out}
    dead = _DEAD if has_true(definition.options, b"capped") else _DEAD | _OF_CAPPED
    wanted = _asked(definition, how).keys() - said - dead
    lost = [one for one in unmet(definition.options, present.options) if one in wanted]
    if lost:
        failures.append(f"{name}: the server did not take over {', '.join(lost)}")
    if unknown := [path for path in created.left_out if path not in dead]:
        failures.append(f"{name}: the server does not know {', '.join(unknown)}: left out")
    return created._replace(failures=failures, left_out=[p for p in created.left_out if p in dead])


def _applied(definition: Definition, command: Document) -> Document:
    """With the UUID of the original, which only the command that applies an oplog takes."""
    operation = {
        "op": "c",
        "ns": f"{definition.namespace.database}.$cmd",
        "ui": Binary.from_uuid(UUID(definition.uuid)),
        "o": command,
    }
    return {"applyOps": [operation]}


def reason(error: OperationFailure) -> str:
    """What the server says of it."""
    return str((error.details or {}).get("errmsg", error))
