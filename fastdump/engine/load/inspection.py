"""Looking at a target before anything is written to it."""

from __future__ import annotations

from collections.abc import Sequence

from fastdump.codec.definitions import differing, has_true
from fastdump.engine.load.time_series import Documents, check_series
from fastdump.model import CollectionKind, Connection, Definition, LoadOptions
from fastdump.mongo import schema
from fastdump.mongo.client import Client, connect, server_info, translated
from fastdump.mongo.confirming import write_concern
from fastdump.mongo.replica import check_primary
from fastdump.mongo.retry import retrying
from fastdump.mongo.round_trip import ask_each
from fastdump.mongo.target import check_case, too_long

__all__ = ["in_the_way", "inspect_target", "keeps_order"]


def inspect_target(
    connection: Connection,
    definitions: Sequence[Definition],
    how: LoadOptions,
    documents: Documents,
) -> tuple[int, list[str]]:
    """Count the documents that a target holds, and find the collections that are different there.

    Args:
        connection: the target.
        definitions: the collections to load.
        how: how documents are loaded.
        documents: reads the documents to load into a collection.

    Returns:
        An estimate of the number of documents in those collections, and notes for the user.

    Raises:
        ServerError: the target cannot be reached or refuses.
        UsageError: the write concern is 0, or the target is a secondary, or holds a time series
            that measurements would be mixed into, or a database whose name differs in case only.
    """
    notes = [note for note in map(too_long, definitions) if note]
    with connect(connection) as client:
        write_concern(client, connection, how.write_concern)
        server_info(client, connection)
        with translated(connection):
            databases = {found.namespace.database for found in definitions}
            retrying(connection)(check_primary, client, connection)
            retrying(connection)(check_case, client, connection, databases)
            present = retrying(connection)(schema.existing, client, databases)
            there = []
            for definition in definitions:
                found = present.get(definition.namespace)
                if found is not None and found.kind is not definition.kind:
                    notes += [] if how.drop else [in_the_way(definition, found)]
                elif found is not None:
                    there.append((definition, found))
            counts = ask_each(client, lambda one: _count(client, connection, one[0]), there)
            for (definition, found), count in zip(there, counts, strict=True):
                is_series = definition.kind is CollectionKind.TIMESERIES
                if count and is_series and not how.drop:
                    check_series(client, connection, definition, documents)
                if differing(found.options, definition.options):
                    notes.append(
                        f"{definition.namespace} exists on the target with other options, which "
                        "stay as they are; --drop would replace it"
                    )
    return sum(counts), notes


def _count(client: Client, connection: Connection, definition: Definition) -> int:
    if definition.kind is CollectionKind.VIEW:
        return 0
    return retrying(connection)(schema.count, client, definition.data)


def keeps_order(definition: Definition, how: LoadOptions) -> bool:
    """Return whether documents must be loaded in order, which is the meaning of a capped one."""
    return how.in_order or has_true(definition.options, b"capped")


def in_the_way(definition: Definition, found: schema.Present) -> str:
    """Return the note that another kind of collection has the name of one to load."""
    return (
        f"{definition.namespace} is a {found.kind} on the target and a {definition.kind} in the "
        "source: it is left alone, and nothing of it is written; --drop would replace it"
    )
