"""Names that no server accepts, found before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pymongo.errors import OperationFailure

from fastdump.errors import UsageError
from fastdump.model import Connection, Definition
from fastdump.mongo.client import Client
from fastdump.mongo.retry import passes

__all__ = ["check_case", "check_databases", "too_long"]

_LOCAL = "local"
"""The database that holds a server's own data, such as its oplog."""

_LONGEST_DATABASE = 63
"""In bytes."""

_LONGEST_NAMESPACE = 255
"""In bytes, since MongoDB 4.4. That of sharded collections, 235, is left to the server."""


def check_databases(names: Iterable[str]) -> None:
    """See that databases of those names can be written.

    Raises:
        UsageError: `local` is among them, or a name that is too long.
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
    """Return why no server can hold a collection of that name, if its name is too long."""
    # The buckets of a time series have a longer name, which the server allows.
    length = len(str(definition.namespace).encode())
    if length <= _LONGEST_NAMESPACE:
        return None
    return (
        f"{definition.namespace}: the names of database and collection have {length} bytes "
        f"together, and a server allows {_LONGEST_NAMESPACE}: nothing of it is written; give the "
        "database a shorter name"
    )


def check_case(client: Client, connection: Connection, wanted: Collection[str]) -> None:
    """See that each of those databases exists, or can be made beside those that exist.

    If the user may not list the databases, nothing is checked: the server refuses later.

    Raises:
        PyMongoError: the server does not answer.
        UsageError: the names of two databases would differ in case only.
    """
    try:
        present = client.list_database_names()
    except OperationFailure as error:
        if passes(error):
            raise
        present = []
    for name in sorted(set(wanted) - set(present)):
        for other in (*present, *wanted):
            # The server compares the letters of ASCII only, as `bytes.lower` does.
            if other != name and other.encode().lower() == name.encode().lower():
                raise UsageError(
                    f"there cannot be a database {name!r} beside {other!r} on {connection.shown}: "
                    "a server refuses names that differ in case only; choose one of them"
                )
