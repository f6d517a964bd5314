"""Count a collection's documents, their size, and the writes to it."""

from __future__ import annotations

from collections.abc import Iterable

from pymongo.errors import OperationFailure

from fastdump.model import ClusterTime, Namespace
from fastdump.mongo.bucket_access import access_to
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.cursor import NO_LIMIT
from fastdump.mongo.retry import passes
from fastdump.mongo.snapshot import at_moment

__all__ = ["count_all", "count_writes", "read_sizes"]


def count_all(
    client: Client, namespace: Namespace, at: ClusterTime | None, uuid: str | None
) -> int | None:
    """Count the documents of a collection one by one; None if the server cannot do that.

    The server's own count costs nothing, but may be wrong after a crash. Counting a million
    documents takes half a second.

    Args:
        client: the server.
        namespace: the collection.
        at: the cluster time at which to count; None for now.
        uuid: the UUID that the collection must have at that time.

    Raises:
        PyMongoError: the server does not answer.
    """
    command = {
        **access_to(client, namespace).command("aggregate"),
        "pipeline": [{"$group": {"_id": None, "n": {"$sum": 1}}}],
        "cursor": {},
        **NO_LIMIT,
        **at_moment(at, uuid),
    }
    found = _found(client, namespace, command)
    return None if found is None else sum(int(one["n"]) for one in found)


def read_sizes(client: Client, namespace: Namespace) -> tuple[int, int]:
    """Return the estimated number of documents and their size in bytes; 0 if unknown.

    Raises:
        PyMongoError: the server does not answer.
    """
    database, source = open_database(client, namespace.database), access_to(client, namespace)
    try:
        # collStats has no rawData: of a time series it tells the size, but not the buckets' number.
        stats = database.command({"collStats": source.collection})
    except OperationFailure as error:
        if passes(error):
            raise
        # The user lacks the right, or the server lacks the command: the count alone is enough.
        stats = {}
    documents = None if source.fields else stats.get("count")
    if documents is None:
        documents = database.command(source.command("count"))["n"]
    return int(documents), int(stats.get("size", 0))


def count_writes(client: Client, namespaces: Iterable[Namespace]) -> dict[Namespace, int]:
    """Return the number of writes to each collection since the server started, if it is known.

    The counters belong to the server that executes the writes, so those of a secondary mean
    nothing. Neither does a zero, which some servers always return.

    Source: the server's manual, "$collStats", `latencyStats`.

    Raises:
        PyMongoError: the server does not answer.
    """
    if not client.admin.command("hello").get("isWritablePrimary"):
        return {}
    writes = {namespace: _writes(client, namespace) for namespace in namespaces}
    return {namespace: count for namespace, count in writes.items() if count}


def _writes(client: Client, namespace: Namespace) -> int:
    command = {
        **access_to(client, namespace).command("aggregate"),
        "pipeline": [{"$collStats": {"latencyStats": {}}}],
        "cursor": {},
    }
    # The reply has one document for each shard.
    stats = (one.get("latencyStats", {}) for one in _found(client, namespace, command) or ())
    return sum(int(one.get("writes", {}).get("ops", 0)) for one in stats)


def _found(client: Client, namespace: Namespace, command: Document) -> list[Document] | None:
    try:
        reply = open_database(client, namespace.database).command(command)
    except OperationFailure as error:
        if passes(error):
            raise
        return None
    found: list[Document] = reply["cursor"]["firstBatch"]
    return found
