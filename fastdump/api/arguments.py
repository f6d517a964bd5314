"""The values that a caller gives, as the engine takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastdump import config
from fastdump.model import (
    NO_KEYS,
    CollectionFilter,
    Connection,
    Keys,
    Location,
    NamespaceFilter,
    Selection,
    Server,
    is_url,
)

if TYPE_CHECKING:
    from fastdump.engine.restore.filters import Filters
    from fastdump.layouts.interface import Layout


def filters_of(namespaces: NamespaceFilter | None) -> Filters:
    """Return which namespaces of a backup are read, and the names that they get."""
    from fastdump.engine.restore.filters import Filters
    from fastdump.patterns import Patterns, Renaming

    wanted = namespaces or NamespaceFilter()
    old, new = [one for one, _new in wanted.rename], [one for _old, one in wanted.rename]
    return Filters(
        include=Patterns(wanted.include),
        exclude=Patterns(wanted.exclude),
        renaming=Renaming(old, new),
    )


def server_of(server: str | Server) -> Server:
    """Return the server that is meant, which a caller may give as a bare URI."""
    return Server(server) if isinstance(server, str) else server


def connection_of(server: Server) -> Connection:
    """Return the connection to a server.

    Raises:
        UsageError: its URI is not a MongoDB URI.
    """
    return replace(
        config.described(server.uri, server.username, server.password),
        read_preference=server.read_preference,
        retry_seconds=server.retry_seconds,
    )


def selection_of(database: str | None, wanted: CollectionFilter | None) -> Selection:
    """Return the part of a database, or of all databases, that is read.

    Raises:
        UsageError: the query is not Extended JSON.
    """
    from fastdump.mongo.query import filter_of

    found = wanted or CollectionFilter()
    return Selection(
        database,
        tuple(found.include),
        tuple(found.exclude),
        None if found.query is None else filter_of(found.query),
        found.views_as_collections,
        found.users_and_roles,
    )


def layout_of(folder: str | Path, keys: Keys = NO_KEYS) -> Layout:
    """Return the layout of the backups in a folder or a repository.

    Raises:
        StorageError: the folder cannot be read.
    """
    from fastdump.places import layout

    return layout(location_of(folder), keys)


def location_of(folder: str | Path) -> Location:
    """Return the place that is meant: the address of an object store, or a path."""
    return folder if is_url(folder) else Path(folder)


def name_of(name: str | Path | None) -> str | None:
    """Return the name or path of the backup that is meant; None is the newest."""
    return None if name is None else str(name)
