"""Read the shard key of a collection, which mongos requires in statements that may insert."""

from __future__ import annotations

from pymongo.errors import OperationFailure

from fastdump.model import Namespace
from fastdump.mongo.bucket_access import access_to
from fastdump.mongo.client import Client, open_database
from fastdump.mongo.retry import passes

__all__ = ["shard_key"]


def shard_key(client: Client, namespace: Namespace) -> tuple[bytes, ...]:
    """Return the paths of a collection's shard key without `_id`; empty if it is not sharded.

    Reading `config` needs the role clusterMonitor or backup. Without it, the paths of all indexes
    are returned. They include the shard key, which always has an index; the others do no harm in a
    query for a document that has those values.

    Raises:
        PyMongoError: the server does not answer.
    """
    if not client.is_mongos:
        return ()
    try:
        paths = _from_config(client, namespace)
    except OperationFailure as error:
        if passes(error):
            raise
        paths = _from_indexes(client, namespace)
    return tuple(path.encode() for path in dict.fromkeys(paths) if path.split(".")[0] != "_id")


def _from_config(client: Client, namespace: Namespace) -> list[str]:
    name = namespace._replace(collection=access_to(client, namespace).collection)
    reply = client["config"].command(
        {
            "find": "collections",
            "filter": {"_id": str(name), "dropped": {"$ne": True}},
            "limit": 1,
            "singleBatch": True,
        }
    )
    return [path for found in reply["cursor"]["firstBatch"] for path in found["key"]]


def _from_indexes(client: Client, namespace: Namespace) -> list[str]:
    try:
        found = open_database(client, namespace.database).command(
            {**access_to(client, namespace).command("listIndexes"), "cursor": {}}
        )
    except OperationFailure as error:
        if passes(error):
            raise
        return []  # the user lacks that right too, or the collection does not exist
    keys = [index["key"] for index in found["cursor"]["firstBatch"]]
    # Leave out text and wildcard indexes, which cannot support a shard key and have special names.
    return [path for key in keys for path in key if not ("$" in path or path[:4] == "_fts")]
