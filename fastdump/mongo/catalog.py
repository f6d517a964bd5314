"""Read the catalog: the selected collections of a server, with options, indexes and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import OperationFailure

from fastdump.codec.bson import without
from fastdump.codec.definitions import has_true
from fastdump.errors import ServerError, UsageError
from fastdump.model import (
    BUCKETS,
    NO_OPTIONS,
    Catalog,
    Collection,
    CollectionKind,
    Connection,
    Namespace,
    Selection,
)
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import (
    NAMESPACE_NOT_FOUND,
    Client,
    Document,
    open_database,
    said,
    server_info,
    translated,
)
from fastdump.mongo.counts import read_sizes
from fastdump.mongo.listing import list_collections, list_indexes, options_of
from fastdump.mongo.retry import passes, retrying
from fastdump.mongo.round_trip import ask_each
from fastdump.patterns import Patterns

__all__ = [
    "is_of_server",
    "is_selected",
    "is_servers_own",
    "read_catalog",
    "read_definitions",
    "read_names",
]

_DATA_IN_SYSTEM = frozenset({"system.js"})
"""Collections under `system.` that hold the user's data instead of the server's."""

_SERVERS_OWN = frozenset({"local", "config"})
_INTERNAL = "__mdb_internal"
_OF_A_VIEW = (b"viewOn", b"pipeline")
_SHOWN = 20
_AUTHORIZATION = ("system.users", "system.roles", "system.version")


def read_catalog(
    client: Client,
    connection: Connection,
    selection: Selection,
    on_listed: Callable[[int], None] = lambda _collections: None,
) -> Catalog:
    """Return the catalog of one database or of all.

    Args:
        client: the server.
        connection: its address and its time of retrying.
        selection: the databases and collections to read.
        on_listed: called with the number of collections as soon as it is known; to ask for the
            sizes and indexes of thousands takes a second.

    Raises:
        ServerError: the server cannot be reached or refuses.
        UsageError: there is no such database, or the selection leaves nothing of it.
    """
    if selection.database is not None:
        open_database(client, selection.database)  # refuse an invalid name without the server
    server = server_info(client, connection)
    refused = list[OperationFailure]()
    with translated(connection):
        listed = retrying(connection)(_listed, client, selection, refused)
        if not listed:
            raise UsageError(_nothing(client, selection.database, connection))
        wanted = _wanted(listed, selection)
        on_listed(len(wanted))
        found = _described(client, wanted, selection, connection, sizes=True)
    notes = (f"the database admin is left out: {said(refused[0])}",) if refused else ()
    return Catalog(selection.database, server, found, notes)


def read_definitions(client: Client, selection: Selection) -> tuple[Collection, ...]:
    """Return the selected collections that exist now, without their sizes, which take longer.

    Raises:
        PyMongoError: as the driver does.
    """
    try:
        kept = _wanted(_listed(client, selection), selection)
    except UsageError:
        return ()  # no selected collection is left
    return _described(client, kept, selection, None, sizes=False)


def read_names(client: Client, selection: Selection) -> dict[Namespace, str | None]:
    """Return the names of the selected collections that exist now, each with its UUID.

    Raises:
        PyMongoError: as the driver does.
    """
    try:
        kept = _wanted(_listed(client, selection), selection)
    except UsageError:
        return {}  # no selected collection is left
    return {
        Namespace(database.name, entry["name"]): _uuid(entry.get("info", {}).get("uuid"))
        for database, entry in kept
    }


_Listed = list[tuple[Database[Document], Document]]


def _listed(
    client: Client, selection: Selection, refused: list[OperationFailure] | None = None
) -> _Listed:
    """Return the entries of all collections; add to `refused` why `admin` cannot be read."""
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
    """Check that the user may read the collections of the server's own database.

    The smaller clusters of MongoDB Atlas refuse that to everybody, with code 8000.

    Raises:
        PyMongoError: the server refuses.
    """
    for entry in entries:
        database.command({"find": entry["name"], "limit": 1, "singleBatch": True})


def _of_database(database: Database[Document]) -> Iterator[Document]:
    """Yield the entries of collections with user data; a time series has its buckets' UUID."""
    entries = {entry["name"]: entry for entry in list_collections(database)}
    for name, entry in entries.items():
        if _is_data(name):
            buckets = entries.get(f"{BUCKETS}{name}")
            yield {**entry, "info": buckets["info"]} if buckets else entry


def _databases(client: Client) -> list[str]:
    """Return the names of all databases except the server's own, as mongodump does.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: the server refuses to list its databases.
    """
    try:
        names = client.list_database_names()
    except OperationFailure as error:
        if passes(error):
            raise
        raise ServerError(
            f"the server refuses to list its databases: {said(error)}; name one with --db"
        ) from None
    except BSONError:
        raise ServerError(
            "the name of a database of this server is not UTF-8, so it cannot be read; name "
            "another database with --db"
        ) from None
    return [name for name in names if not is_of_server(name)]


def is_of_server(database: str) -> bool:
    """Return True if a database holds the server's own data instead of the user's."""
    return database in _SERVERS_OWN or database.startswith(_INTERNAL)


def is_servers_own(name: str) -> bool:
    """Return True if a collection holds the server's own data instead of the user's."""
    return name.startswith("system.") and name not in _DATA_IN_SYSTEM


def is_selected(selection: Selection) -> Callable[[Namespace], bool]:
    """Return a function that tells by name if a collection is selected, even one that is gone.

    The buckets of a time series are selected together with the time series.
    """
    included, excluded = Patterns(selection.collections), Patterns(selection.exclude)

    def wanted(namespace: Namespace) -> bool:
        database, name = namespace
        if selection.database is None:
            is_of_it = not is_of_server(database)
        else:
            is_of_it = database == selection.database
        name = name.removeprefix(BUCKETS)
        is_meant = not included or included.match(name)
        return is_of_it and _is_data(name) and is_meant and not excluded.match(name)

    return wanted


def _is_data(name: str) -> bool:
    return not (is_servers_own(name) or "$" in name)


def _wanted(listed: _Listed, selection: Selection) -> _Listed:
    """Return the entries of the selected collections.

    Raises:
        UsageError: a pattern matches nothing, or no collection is selected.
    """
    included, excluded = Patterns(selection.collections), Patterns(selection.exclude)
    names = [entry["name"] for _database, entry in listed]
    if unused := included.unused(names):
        shown = ", ".join(sorted(set(names))[:_SHOWN])
        raise UsageError(f"no collection matches {unused[0]!r}: there are {shown}")
    kept = [
        (database, entry)
        for database, entry in listed
        if (not included or included.match(entry["name"])) and not excluded.match(entry["name"])
    ]
    if selection.views_as_collections:
        kept = [(database, _as_data(entry)) for database, entry in kept if entry["type"] == "view"]
    if not kept:
        raise UsageError(
            "the options select no collection: check --collection, --exclude-collection and "
            "--views-as-collections"
        )
    if selection.query is not None:
        kept = [(database, {**entry, "query": selection.query}) for database, entry in kept]
        _check_query(kept)
    return kept


def _check_query(kept: _Listed) -> None:
    """Check that a filter is used with exactly one collection.

    Raises:
        UsageError: there are several, or it is a view or a time series.
    """
    if len(kept) != 1:
        raise UsageError("--query needs exactly one collection: name it with --collection")
    _database, entry = kept[0]
    if entry.get("type", "collection") != "collection":
        raise UsageError(
            f"--query needs a plain collection, but {entry['name']} is a {entry['type']}"
        )


def _as_data(entry: Document) -> Document:
    """Return the entry of a view as if it were a collection with the view's documents."""
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
    """Return the collections of the entries; with a connection, each is retried by itself."""

    def describe(listed: tuple[Database[Document], Document]) -> Collection | None:
        ask = retrying(connection).wraps(_describe) if connection else _describe
        try:
            return ask(*listed, sizes=sizes)
        except OperationFailure as error:
            if error.code != NAMESPACE_NOT_FOUND:
                raise
            return None  # the collection was dropped after it was listed

    found = [one for one in ask_each(client, describe, wanted) if one is not None]
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
        # Counting the documents of a view would run its pipeline.
        return replace(collection, read_from=collection.namespace)
    documents, raw_bytes = read_sizes(database.client, collection.data) if sizes else (0, 0)
    indexes = list_indexes(database, Access(entry["name"]))
    return replace(collection, indexes=indexes, documents=documents, raw_bytes=raw_bytes)


def _authorization(client: Client, name: str | None, *, sizes: bool) -> Iterator[Collection]:
    """Yield the collections of users and roles, of one database or all, named as in mongodump.

    Raises:
        PyMongoError: the user has no right to read them.
    """
    for source in _AUTHORIZATION:
        found = Collection("admin", source, CollectionKind.COLLECTION, NO_OPTIONS, (), 0, 0)
        if name in (None, "admin"):
            documents, raw_bytes = read_sizes(client, found.namespace) if sizes else (0, 0)
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
