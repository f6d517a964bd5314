"""Compare two databases by the server's own hash of documents, by options and by indexes."""

from __future__ import annotations

from dataclasses import dataclass

from fastdump.model import Bson, Connection
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import connect, open_database
from fastdump.mongo.listing import list_collections, list_indexes, options_of

__all__ = ["CollectionState", "differences", "state"]


@dataclass(frozen=True)
class CollectionState:
    """Definition and hash of a collection, for comparison."""

    kind: str
    options: Bson
    indexes: tuple[Bson, ...]
    digest: str | None
    """Hash of the documents from the server's `dbHash`; None for a view."""


def state(connection: Connection, database: str) -> dict[str, CollectionState]:
    """Return the state of every collection and view of a database, by name."""
    with connect(connection) as client:
        source = open_database(client, database)
        digests = source.command("dbHash")["collections"]
        found = {}
        for entry in list_collections(source):
            name, kind = entry["name"], entry["type"]
            if name.startswith("system."):
                continue
            data = f"system.buckets.{name}" if kind == "timeseries" else name
            indexes = list_indexes(source, Access(name)) if kind != "view" else ()
            found[name] = CollectionState(
                kind,
                options_of(entry),
                tuple(sorted(indexes)),
                digests.get(data),
            )
    return found


def differences(
    expected: dict[str, CollectionState], actual: dict[str, CollectionState]
) -> list[str]:
    """Return a message for each collection that is missing, additional or different."""
    found = []
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            found.append(f"{name!r}: {expected.get(name)} became {actual.get(name)}")
    return found
