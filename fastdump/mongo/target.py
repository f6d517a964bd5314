"""What a server refuses whatever it is told, found out before anything is written there."""

from __future__ import annotations

from collections.abc import Collection

from pymongo.errors import OperationFailure

from fastdump.errors import UsageError
from fastdump.model import Connection, Definition
from fastdump.mongo.client import Client
from fastdump.mongo.retry import passes

__all__ = ["check_case", "too_long"]

_LONGEST_NAMESPACE = 255
"""In bytes, since MongoDB 4.4; of a sharded collection 235, which it says itself."""


def too_long(definition: Definition) -> str | None:
    """Return why no server can hold a collection of that name, if its name is too long."""
    # The buckets of a time series may be called something longer.
    length = len(str(definition.namespace).encode())
    if length <= _LONGEST_NAMESPACE:
        return None
    return (
        f"{definition.namespace}: the names of database and collection have {length} bytes "
        f"together, and a server allows {_LONGEST_NAMESPACE}: nothing of it is written; give the "
        "database a shorter name"
    )


def check_case(client: Client, connection: Connection, wanted: Collection[str]) -> None:
    """See that each of those databases is there, or can be made beside those that are.

    A user who may not list the databases learns it from the server later.

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
            # The server looks at the letters of ASCII alone, as bytes do.
            if other != name and other.encode().lower() == name.encode().lower():
                raise UsageError(
                    f"there cannot be a database {name!r} beside {other!r} on {connection.shown}: "
                    "a server refuses names that differ in case only; choose one of them"
                )
