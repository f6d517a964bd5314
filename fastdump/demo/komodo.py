"""Generate Komodo-shaped data with many processes; the same seed gives the same data.

The collections, their fields and their indexes follow Komodo's entities. By size, a little over
half is `Stats` (one document per server and minute, 0.9 KB), and most of the rest is `Update` (one
per action, 7.7 KB, mostly the output of commands).
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import bson
from bson import Int64, ObjectId

from fastdump.codec.bson import Batch
from fastdump.engine.executors.forkserver import processes
from fastdump.model import Connection, LoadOptions, Namespace
from fastdump.mongo.client import Client, connect, open_database
from fastdump.mongo.load import Loader
from fastdump.progress import Silent

__all__ = ["INDEXES", "document_bytes", "documents", "generate", "sizes"]

Document = dict[str, Any]

_BEGIN = 1_735_689_600  # 2025-01-01, in seconds
_SERVERS = 50
_BLOCK_BYTES = 1_000_000
_RESOURCES = (
    "Action", "Alerter", "Build", "Builder", "Deployment", "Procedure", "Repo", "ResourceSync",
    "Server", "Stack", "Swarm",
)  # fmt: skip
_SETTINGS = ("ApiKey", "GitProviderAccount", "Permission", "Tag", "User", "UserGroup", "Variable")
_WORDS = (
    "Container", "Network", "Volume", "Pulling", "Created", "Started", "Recreated", "Removed",
    "Running", "Waiting", "Healthy", "sha256", "layer", "cache", "image", "compose", "up", "-d",
    "komodo", "periphery", "core", "mongo", "nginx", "postgres", "redis", "traefik", "Done",
)  # fmt: skip

_BEGINS = [f" {one} {other}-" for one in _WORDS for other in _WORDS]
_ENDS = [f" {one} {other} {n}.{n % 7}s" for n, one in enumerate(_WORDS) for other in _WORDS]

INDEXES: dict[str, list[dict[str, Any]]] = {
    "Stats": [{"key": {"ts": 1}}, {"key": {"sid": 1}}],
    "Update": [
        {"key": {"operation": 1}},
        {"key": {"start_ts": 1}},
        {"key": {"success": 1}},
        {"key": {"operator": 1}},
        {"key": {"status": 1}},
        {"key": {"target.type": 1}},
        {"key": {"target.id": 1}, "sparse": True},
    ],
    "Alert": [
        {"key": {"data.type": 1}},
        {"key": {"target.type": 1}},
        {"key": {"target.id": 1}},
        {"key": {"ts": 1}},
        {"key": {"resolved": 1}},
        {"key": {"level": 1}},
    ],
    "User": [{"key": {"username": 1}, "unique": True}, {"key": {"config.type": 1}}],
    "ApiKey": [{"key": {"key": 1}, "unique": True}, {"key": {"user_id": 1}}],
    "Permission": [{"key": {"user_target.type": 1, "user_target.id": 1}}],
    "Variable": [{"key": {"name": 1}, "unique": True}],
    "Tag": [{"key": {"name": 1}, "unique": True}],
    **{name: [{"key": {"name": 1}, "unique": True}, {"key": {"tags": 1}}] for name in _RESOURCES},
}
"""The indexes of each collection, without their names."""


def _id(rng: random.Random, number: int) -> ObjectId:
    """Return an ObjectId that rises with time, like the server's own."""
    return ObjectId(
        (_BEGIN + number).to_bytes(4, "big")
        + rng.randbytes(5)
        + (number & 0xFFFFFF).to_bytes(3, "big")
    )


def _stats(rng: random.Random, number: int) -> Document:
    server, one = number % _SERVERS, rng.random
    disks = [
        {
            "mount": mount,
            "file_system": "ext4",
            "used_gb": one() * 400,
            "total_gb": 468.1,
        }
        for mount in ("/", "/var/lib/docker", "/srv/data", "/backups", "/boot")
    ]
    return {
        "_id": _id(rng, number),
        "ts": Int64((_BEGIN + number // _SERVERS * 60) * 1000),
        "sid": f"{0x64AF00000000000000000000 + server * 7919:024x}",
        "cpu_perc": one() * 100,
        "load_average": {"one": one() * 8, "five": one() * 8, "fifteen": one() * 8},
        "mem_used_gb": one() * 60,
        "mem_total_gb": 62.8,
        "mem_buff_cache_gb": one() * 30,
        "mem_zfs_arc_gb": 0.0,
        "swap_total_gb": 8.0,
        "swap_used_gb": one(),
        "disk_used_gb": one() * 1500,
        "disk_total_gb": 2340.5,
        "disks": disks,
        "network_ingress_bytes": float(rng.getrandbits(32)),
        "network_egress_bytes": float(rng.getrandbits(32)),
    }


def _output(rng: random.Random, lines: int) -> str:
    """Return text like the output of `docker compose`, which repeats the hashes of layers."""
    hashes = rng.randbytes(3 * lines + 6).hex()
    layers = [hashes[place : place + 12] for place in range(0, len(hashes) - 11, 12)]
    begins, ends = rng.choices(_BEGINS, k=lines), rng.choices(_ENDS, k=lines)
    chosen = rng.choices(layers, k=lines)
    return "\n".join(map("".join, zip(begins, chosen, ends, strict=True)))


def _update(rng: random.Random, number: int) -> Document:
    at = (_BEGIN + number * 300) * 1000
    resource = rng.choice(_RESOURCES)
    stages = ("Clone Repo", "Compose Pull", "Compose Up")
    return {
        "_id": _id(rng, number * 300),
        "operation": f"{rng.choice(('Deploy', 'Update', 'Create', 'Run'))}{resource}",
        "start_ts": Int64(at),
        "success": rng.random() < 0.97,
        "operator": f"{rng.randrange(40) + 0x64AF00000000000000000000:024x}",
        "target": {"type": resource, "id": f"{rng.randrange(900) + 0x64B0 * 16**20:024x}"},
        "logs": [
            {
                "stage": stage,
                "command": f"docker compose -p {resource.lower()}-{number % 90} up -d",
                "stdout": _output(rng, rng.randrange(20, 75)),
                "stderr": _output(rng, rng.randrange(3)),
                "success": True,
                "start_ts": Int64(at + step * 1000),
                "end_ts": Int64(at + step * 1000 + rng.randrange(900)),
            }
            for step, stage in enumerate(stages)
        ],
        "end_ts": Int64(at + 4000),
        "status": "Complete",
        "version": {"major": 0, "minor": 0, "patch": 0},
    }


def _alert(rng: random.Random, number: int) -> Document:
    at = (_BEGIN + number * 900) * 1000
    kind = rng.choice(("ServerCpu", "ServerMem", "ServerDisk", "StackStateChange"))
    return {
        "_id": _id(rng, number * 900),
        "ts": Int64(at),
        "resolved": rng.random() < 0.95,
        "level": rng.choice(("OK", "WARNING", "CRITICAL")),
        "target": {"type": "Server", "id": f"{rng.randrange(_SERVERS):024x}"},
        "data": {
            "type": kind,
            "data": {"name": f"server-{number % _SERVERS}", "percentage": rng.random()},
        },
        "resolved_ts": Int64(at + 60_000),
    }


def _resource(rng: random.Random, number: int) -> Document:
    return {
        "_id": _id(rng, number),
        "name": f"resource-{number}",
        "description": _output(rng, 1),
        "template": False,
        "tags": [f"{rng.randrange(20):024x}" for _tag in range(rng.randrange(4))],
        "info": {
            "state": rng.choice(("ok", "unknown")),
            "latest_hash": f"{rng.getrandbits(28):07x}",
        },
        "config": {
            "server_id": f"{rng.randrange(_SERVERS):024x}",
            "file_contents": _output(rng, 20),
        },
        "base_permission": {"level": "None", "specific": []},
        "updated_at": Int64((_BEGIN + number) * 1000),
    }


def _setting(rng: random.Random, number: int) -> Document:
    return {
        "_id": _id(rng, number),
        "name": f"name-{number}",
        "key": f"K-{number}-{rng.getrandbits(64):016x}",
        "username": f"user-{number}",
        "value": _output(rng, 1),
        "user_id": f"{rng.randrange(50):024x}",
        "config": {"type": "Local"},
        "user_target": {"type": "User", "id": f"{rng.randrange(50):024x}"},
    }


class _Kind(NamedTuple):
    make: Callable[[random.Random, int], Document]
    documents: int
    """Number of documents in a database of one gigabyte; other sizes scale all collections."""


_KINDS = {
    "Stats": _Kind(_stats, 611_000),
    "Update": _Kind(_update, 61_000),
    "Alert": _Kind(_alert, 20_000),
    **{name: _Kind(_resource, 300) for name in _RESOURCES},
    **{name: _Kind(_setting, 100) for name in _SETTINGS},
}


def sizes(raw_bytes: int) -> dict[str, int]:
    """Return the number of documents of each collection for a database of about that size."""
    return {
        name: max(2, kind.documents * raw_bytes // 1_000_000_000) for name, kind in _KINDS.items()
    }


def document_bytes(name: str) -> int:
    """Return the approximate size of a document of a collection, in bytes of BSON."""
    return len(bson.encode(_KINDS[name].make(random.Random(0), 0)))


def documents(name: str, first: int, count: int, seed: int) -> Batch:
    """Return the documents from `first` to `first + count` (exclusive) of a collection."""
    make, rng = _KINDS[name].make, random.Random(f"{seed}/{name}/{first}")
    data = b"".join(bson.encode(make(rng, number)) for number in range(first, first + count))
    return Batch(data, count)


def generate(
    connection: Connection, database: str, raw_bytes: int, *, seed: int = 1, workers: int = 2
) -> int:
    """Fill a database, and return the number of documents.

    Args:
        connection: the server.
        database: the name of the database, which should not exist yet.
        raw_bytes: the approximate size of the documents, in bytes of BSON.
        seed: the seed of the random data.
        workers: the number of processes.

    Raises:
        ServerError: the server refuses the data.
    """
    counts = sizes(raw_bytes)
    blocks = []
    for name, count in counts.items():
        step = max(1, _BLOCK_BYTES // document_bytes(name))
        blocks += [(name, first, min(step, count - first), seed) for first in range(0, count, step)]
    if processes(workers, Silent()):
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(workers, context, _connect, (connection, database)) as executor:
            for _done in executor.map(_insert, *zip(*blocks, strict=True), chunksize=4):
                pass
    else:
        _connect(connection, database)
        for block in blocks:
            _insert(*block)
    with connect(connection) as client:
        for name, indexes in INDEXES.items():
            named = [
                {"name": "_".join(f"{key}_{way}" for key, way in index["key"].items()), **index}
                for index in indexes
            ]
            open_database(client, database).command({"createIndexes": name, "indexes": named})
    return sum(counts.values())


_target: tuple[Client, Connection, str] | None = None


def _connect(connection: Connection, database: str) -> None:
    """Connect; runs once in every process, which then keeps its connection."""
    global _target
    _target = connect(connection), connection, database


def _insert(name: str, first: int, count: int, seed: int) -> None:
    assert _target is not None  # noqa: S101 - _connect ran before
    client, connection, database = _target
    how = LoadOptions(write_concern="1")
    loader = Loader(client, connection, Namespace(database, name), how, keeps_empty=False)
    loader.load(documents(name, first, count, seed))
