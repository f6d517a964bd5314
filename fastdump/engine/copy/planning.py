"""The plan of a copy: both servers are looked at, and nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastdump.engine.load.inspection import inspect_target
from fastdump.engine.load.time_series import of_server
from fastdump.errors import UsageError
from fastdump.model import DEFAULT_DATABASE, Catalog, Connection, LoadOptions, Selection
from fastdump.mongo.catalog import read_catalog
from fastdump.mongo.client import connect, same_server
from fastdump.mongo.members import members
from fastdump.mongo.target import check_databases

__all__ = ["CopyPlan", "moved", "plan_copy"]


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """The plan of a copy, made before anything is written."""

    readers: tuple[Connection, ...]
    """The source: a server, or members of a replica set that share the reading."""
    selection: Selection
    """The collections that are read, and which of their documents."""
    source: str
    """The database that is read."""
    catalog: Catalog
    """The collections, called as on the target. The copy itself reads the catalog again."""
    connection: Connection
    """The server to write to."""
    database: str
    """The database to write to."""
    how: LoadOptions
    held: int
    """An estimate of how many documents the target already has in these collections."""
    notes: tuple[str, ...]


def plan_copy(
    source: Connection,
    selection: Selection,
    connection: Connection,
    database: str,
    *,
    how: LoadOptions,
) -> CopyPlan:
    """Look at both servers, without writing anything.

    Args:
        source: the server to read from.
        selection: the collections to read, of one database.
        connection: the server to write to.
        database: the database to write to.
        how: how documents are loaded.

    Raises:
        ServerError: a server cannot be reached or refuses.
        UsageError: there is no such database, or it is its own target, or the target is `local`, or
            measurements would be mixed into a time series.
    """
    check_databases([database])
    readers = members(source)
    source_name = selection.database or DEFAULT_DATABASE
    with connect(readers[0]) as one, connect(connection) as other:
        catalog = moved(read_catalog(one, readers[0], selection), database)
        if source_name == database and same_server(one, source, other, connection):
            raise UsageError(
                f"database {source_name!r} of {source.shown} would be copied onto itself: "
                "name another target"
            )
    documents = of_server(readers, source_name)
    held, notes = inspect_target(connection, catalog.collections, how, documents)
    return CopyPlan(
        readers=readers,
        selection=selection,
        source=source_name,
        catalog=catalog,
        connection=connection,
        database=database,
        how=how,
        held=held,
        notes=tuple(notes),
    )


def moved(catalog: Catalog, database: str) -> Catalog:
    """Return the same catalog with the names that the collections have in that database."""
    moved = tuple(replace(found, database=database) for found in catalog.collections)
    return replace(catalog, collections=moved)
