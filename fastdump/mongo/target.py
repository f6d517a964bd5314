"""Check names that no server accepts, before anything is written to the target."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pymongo.errors import OperationFailure

from fastdump.errors import UsageError
from fastdump.model import Connection, Definition
from fastdump.mongo.client import Client
from fastdump.mongo.retry import passes

__all__ = ["check_case", "check_databases", "too_long"]

_LOCAL = "local"
"""Database with a server's own data, such as its oplog."""

_LONGEST_DATABASE = 63
"""Longest name of a database, in bytes."""

_LONGEST_NAMESPACE = 255
"""Longest namespace in bytes since MongoDB 4.4. The limit of 235 for sharded collections is left to
mongos."""


def check_databases(names: Iterable[str]) -> None:
    """Check that databases of those names can be written.

    Raises:
        UsageError: one of the names is `local`, or is too long.
    """
    names = set(names)
    if _LOCAL in names:
        raise UsageError(
            "the database local holds a server's own data and is never written: name another target"
        )
    for name in names:
        if len(name.encode()) > _LONGEST_DATABASE:
            raise UsageError(
                f"the name {name!r} of a database is too long: a server allows "
                f"{_LONGEST_DATABASE} bytes"
            )


def too_long(definition: Definition) -> str | None:
    """Return a message if the name of a collection is too long for any server, otherwise None."""
    # The longer name of a time series' buckets is no problem.
    length = len(str(definition.namespace).encode())
    if length <= _LONGEST_NAMESPACE:
        return None
    return (
        f"{definition.namespace}: the names of database and collection have {length} bytes "
        f"together, but servers allow {_LONGEST_NAMESPACE}: the collection is left out; choose a "
        "shorter name for the database"
    )


def check_case(client: Client, connection: Connection, wanted: Collection[str]) -> None:
    """Check that no two names of databases would differ in case only.

    If the user may not list the databases, the server's own error comes later.

    Raises:
        PyMongoError: the server does not answer.
        UsageError: two names would differ in case only.
    """
    try:
        present = client.list_database_names()
    except OperationFailure as error:
        if passes(error):
            raise
        present = []
    for name in sorted(set(wanted) - set(present)):
        for other in (*present, *wanted):
            # The server ignores the case of ASCII letters only, as the methods of bytes do.
            if other != name and other.encode().lower() == name.encode().lower():
                raise UsageError(
                    f"the databases {name!r} and {other!r} cannot both exist on "
                    f"{connection.shown}: servers refuse names that differ in case only; use one "
                    "of the two names"
                )
