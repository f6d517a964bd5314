"""What is there: collections with their options, indexes and sizes, and bounds to cut them at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.codec.bson import without
from fastdump.codec.definitions import further_indexes, has_true
from fastdump.errors import ServerError, UsageError
from fastdump.model import (
    BUCKETS,
    NO_OPTIONS,
    Bson,
    Catalog,
    Collection,
    CollectionKind,
    Connection,
    Namespace,
    Selection,
)
from fastdump.mongo.client import (
    NAMESPACE_NOT_FOUND,
    RAW,
    Client,
    Document,
    open_database,
    said,
    server_info,
    translated,
)
from fastdump.mongo.retry import passes, retrying
from fastdump.patterns import Patterns

__all__ = [
    "is_selected",
    "is_servers_own",
    "list_collections",
    "list_indexes",
    "options_of",
    "read_catalog",
    "read_definitions",
    "read_names",
]

_DATA_IN_SYSTEM = frozenset({"system.js"})
"""The only collection under `system.` that holds data of the user's, not of the server's."""

_SERVERS_OWN = frozenset({"local", "config"})
_INTERNAL = "__mdb_internal"
_OF_A_VIEW = (b"viewOn", b"pipeline")
_SHOWN = 20
_AUTHORIZATION = ("system.users", "system.roles", "system.version")


def read_catalog(client: Client, connection: Connection, selection: Selection) -> Catalog:
    """The catalog of a database, or of all.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: there is no such database, or nothing of it is wanted.
    """
    if selection.database is not None:
        open_database(client, selection.database)  # a name that none can have needs no server
    server = server_info(client, connection)
    refused = list[OperationFailure]()
    with translated(connection):
        listed = retrying(connection)(_listed, client, selection, refused)
        if not listed:
            raise UsageError(_nothing(client, selection.database, connection))
        found = _described(client, _wanted(listed, selection), selection, connection, sizes=True)
    notes = (f"the database admin is left out: {said(refused[0])}",) if refused else ()
    return Catalog(selection.database, server, found, notes)


def read_definitions(client: Client, selection: Selection) -> tuple[Collection, ...]:
    """What there is now of what is wanted, as in a catalog, but without sizes, which take longer.

    Raises:
        PyMongoError: as the driver does.
    """
    try:
        kept = _wanted(_listed(client, selection), selection)
    except UsageError:
        return ()  # nothing of it is left
    return _described(client, kept, selection, None, sizes=False)


def read_names(client: Client, selection: Selection) -> dict[Namespace, str | None]:
    """What there is now of what is wanted, each with the server's own name for it.

    Raises:
        PyMongoError: as the driver does.
    """
    try:
        kept = _wanted(_listed(client, selection), selection)
    except UsageError:
        return {}  # nothing of it is left
    return {
        Namespace(database.name, entry["name"]): _uuid(entry.get("info", {}).get("uuid"))
        for database, entry in kept
    }


_Listed = list[tuple[Database[Document], Document]]


def _listed(
    client: Client, selection: Selection, refused: list[OperationFailure] | None = None
) -> _Listed:
    """The entries of what there is; `refused` gets why the server's own database is not read."""
    names = [selection.database] if selection.database else _databases(client)
    listed: _Listed = []
    for database in (open_database(client, name) for name in names):
        is_named = selection.database is not None or selection.users_and_roles
        may_refuse = database.name == "admin" and not is_named
        try:
            entries = list(_of_database(database))
            if may_refuse:
                _read_one_of_each(database, entries)
        except OperationFailure as error:
            if not may_refuse or passes(error):
                raise
            if refused is not None:
                refused.append(error)
        else:
            listed += [(database, entry) for entry in entries]
    return listed


def _read_one_of_each(database: Database[Document], entries: list[Document]) -> None:
    """See that the collections of the server's own database may be read.

    The smaller clusters of MongoDB Atlas refuse that to everybody, with the code 8000.

    Raises:
        PyMongoError: they may not.
    """
    for entry in entries:
        database.command({"find": entry["name"], "limit": 1, "singleBatch": True})


def _of_database(database: Database[Document]) -> Iterator[Document]:
    """The entries of what holds the user's data; a time series has the UUID of its buckets."""
    entries = {entry["name"]: entry for entry in list_collections(database)}
    for name, entry in entries.items():
        if _is_data(name):
            buckets = entries.get(f"{BUCKETS}{name}")
            yield {**entry, "info": buckets["info"]} if buckets else entry


def _databases(client: Client) -> list[str]:
    """All but the server's own, as mongodump does.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: it does not say.
    """
    try:
        names = client.list_database_names()
    except OperationFailure as error:
        if passes(error):
            raise
        raise ServerError(
            f"the server does not list its databases: {said(error)}; name one with --db"
        ) from None
    return [name for name in names if name not in _SERVERS_OWN and not name.startswith(_INTERNAL)]


def is_servers_own(name: str) -> bool:
    """Whether a collection holds the server's data, not the user's."""
    return name.startswith("system.") and name not in _DATA_IN_SYSTEM


def is_selected(selection: Selection) -> Callable[[Namespace], bool]:
    """Whether a collection would be wanted if it were there, by its name alone.

    The buckets of a time series are wanted where that is.
    """
    included, excluded = Patterns(selection.collections), Patterns(selection.exclude)

    def wanted(namespace: Namespace) -> bool:
        database, name = namespace
        if selection.database is None:
            is_of_it = database not in _SERVERS_OWN and not database.startswith(_INTERNAL)
        else:
            is_of_it = database == selection.database
        name = name.removeprefix(BUCKETS)
        is_meant = not included or included.match(name)
        return is_of_it and _is_data(name) and is_meant and not excluded.match(name)

    return wanted


def _is_data(name: str) -> bool:
    return not (is_servers_own(name) or "$" in name)


def _wanted(listed: _Listed, selection: Selection) -> _Listed:
    """What is left of the collections.

    Raises:
        UsageError: a pattern matches nothing.
    """
    included, excluded = Patterns(selection.collections), Patterns(selection.exclude)
    names = [entry["name"] for _database, entry in listed]
    if unused := included.unused(names):
        shown = ", ".join(sorted(set(names))[:_SHOWN])
        raise UsageError(f"no collection is called {unused[0]!r}: there are {shown}")
    kept = [
        (database, entry)
        for database, entry in listed
        if (not included or included.match(entry["name"])) and not excluded.match(entry["name"])
    ]
    if selection.views_as_collections:
        kept = [(database, _as_data(entry)) for database, entry in kept if entry["type"] == "view"]
    if not kept:
        raise UsageError("these options leave no collection to read")
    if selection.query is not None:
        kept = [(database, {**entry, "query": selection.query}) for database, entry in kept]
        _check_query(kept)
    return kept


def _check_query(kept: _Listed) -> None:
    """A filter belongs to the documents of one collection."""
    if len(kept) != 1:
        raise UsageError("--query is for one collection: name it with --collection")
    _database, entry = kept[0]
    if entry.get("type", "collection") != "collection":
        raise UsageError(f"--query is for a collection, and {entry['name']} is a {entry['type']}")


def _as_data(entry: Document) -> Document:
    """A view as if it held what it shows."""
    options = without(options_of(entry), *_OF_A_VIEW)
    return {
        **entry,
        "type": "collection",
        "options": RawBSONDocument(options),
        "is_view": True,
    }


def _nothing(client: Client, name: str | None, connection: Connection) -> str:
    message = f"there is no database {name!r} with collections on {connection.shown}"
    if name is None:
        return f"there is no database with collections on {connection.shown}"
    try:
        names = _databases(client)
    except ServerError:
        return f"{message}: name another with --db"
    others = [other for other in names if other not in ("admin", name)]
    if not others:
        return f"{message}, and no other either"
    return f"{message}: name another with --db (there are {', '.join(sorted(others))})"


def _described(
    client: Client,
    wanted: _Listed,
    selection: Selection,
    connection: Connection | None,
    *,
    sizes: bool,
) -> tuple[Collection, ...]:
    """Describe those collections, each tried again by itself where a connection is given."""
    found = []
    for database, entry in wanted:
        describe = retrying(connection).wraps(_describe) if connection else _describe
        try:
            found.append(describe(database, entry, sizes=sizes))
        except OperationFailure as error:
            # It was dropped since it was listed.
            if error.code != NAMESPACE_NOT_FOUND:
                raise
    if selection.users_and_roles:
        found += _authorization(client, selection.database, sizes=sizes)
    return tuple(sorted(found, key=lambda one: one.namespace))


def _describe(database: Database[Document], entry: Document, *, sizes: bool) -> Collection:
    options = options_of(entry)
    collection = Collection(
        database=database.name,
        name=entry["name"],
        kind=CollectionKind(entry.get("type", "collection")),
        options=options,
        indexes=(),
        documents=0,
        raw_bytes=0,
        capped=has_true(options, b"capped"),
        uuid=_uuid(entry.get("info", {}).get("uuid")),
        query=entry.get("query"),
    )
    if not collection.has_data:
        return collection
    if entry.get("is_view"):
        # Counting it would run it.
        return replace(collection, read_from=collection.namespace)
    documents, raw_bytes = _sizes(database, collection.data.collection) if sizes else (0, 0)
    indexes = list_indexes(database, entry["name"])
    return replace(collection, indexes=indexes, documents=documents, raw_bytes=raw_bytes)


def _authorization(client: Client, name: str | None, *, sizes: bool) -> Iterator[Collection]:
    """The users and roles of a database, or all, as mongodump calls their collections.

    Raises:
        PyMongoError: the user has no right to read them.
    """
    admin = open_database(client, "admin")
    for source in _AUTHORIZATION:
        found = Collection("admin", source, CollectionKind.COLLECTION, NO_OPTIONS, (), 0, 0)
        if name in (None, "admin"):
            documents, raw_bytes = _sizes(admin, source) if sizes else (0, 0)
            yield replace(found, documents=documents, raw_bytes=raw_bytes)
            continue
        of_database = None if source == "system.version" else bson.encode({"db": name})
        yield replace(
            found,
            database=name or "admin",
            name=f"$admin.{source}",
            query=of_database,
            read_from=Namespace("admin", source),
        )


def _uuid(value: object) -> str | None:
    return value.hex() if isinstance(value, bytes) else None


def _sizes(database: Database[Document], name: str) -> tuple[int, int]:
    try:
        stats = database.command({"collStats": name})
    except OperationFailure as error:
        if passes(error):
            raise
        # Without the right, or on a server that lacks the command: the count alone is enough.
        return int(database.command({"count": name})["n"]), 0
    return int(stats.get("count", 0)), int(stats.get("size", 0))


def list_collections(database: Database[Document]) -> Iterator[Document]:
    """Yield what the server says of each collection; what is nested in an entry stays raw.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    for entry in _listing(database, {"listCollections": 1}, "$cmd.listCollections"):
        yield dict(entry)


def options_of(entry: Document) -> Bson:
    """Return the options of a collection that `list_collections` has listed."""
    options = entry.get("options")
    return bytes(options.raw) if isinstance(options, RawBSONDocument) else NO_OPTIONS


def list_indexes(database: Database[Document], name: str) -> tuple[Bson, ...]:
    """Return a collection's indexes as the server lists them, without the one on `_id`.

    Raises:
        PyMongoError: the server does not answer or refuses.
    """
    listed = _listing(database, {"listIndexes": name}, name)
    return further_indexes(bytes(index.raw) for index in listed)


def _listing(
    database: Database[Document], command: Document, source: str
) -> Iterator[RawBSONDocument]:
    """Yield the documents that a listing command finds, as they are.

    PyMongo's own methods decode them, which changes what Python's types cannot hold.
    """
    reply = database.command({**command, "cursor": {}}, codec_options=RAW)["cursor"]
    yield from reply["firstBatch"]
    while reply["id"]:
        more = {"getMore": bson.Int64(reply["id"]), "collection": source}
        reply = database.command(more, codec_options=RAW)["cursor"]
        yield from reply["nextBatch"]
