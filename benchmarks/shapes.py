"""Generate difficult and extreme collections; the same seed gives the same data.

`python -m benchmarks.generate` fills a database with them; the tests and the benchmarks do so too.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import bson
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from benchmarks.features import features_of
from fastdump.codec.bson import Batch
from fastdump.model import Connection, LoadOptions, Namespace
from fastdump.mongo.client import connect, open_database
from fastdump.mongo.load import Loader

__all__ = ["HURTFUL_NAMES", "SHAPES", "hurtful", "insert", "mixed_ids"]

Document = dict[str, Any]

_BATCH_BYTES = 4_000_000

HURTFUL_NAMES = (
    "a/b", "a/../../b", "x..y", "x.", "-rf", "line\nbreak", "tab\there", "%2F", "日本",
    "A", "a", "É", "é", "e\u0301", "con", "a b", " space ", "quote\"'`", "back\\slash", "*?",
    "manifest", "manifest.json", "Stats.manifest", "n" * 200, "ü" * 100, "/" * 120, "m" * 199 + "x",
    "a:b", "emoji😀",
)  # fmt: skip
"""Difficult names, all legal on the server, although PyMongo's `Collection` refuses some."""


def insert(connection: Connection, database: str, name: str, documents: Iterable[Document]) -> None:
    """Insert documents in batches into a collection of any name."""
    with connect(connection) as client:
        how = LoadOptions(write_concern="1")
        loader = Loader(client, connection, Namespace(database, name), how, keeps_empty=False)
        data: list[bytes] = []
        size = 0
        for document in documents:
            data.append(bson.encode(document))
            size += len(data[-1])
            if size >= _BATCH_BYTES:
                loader.load(Batch(b"".join(data), len(data)))
                data, size = [], 0
        loader.load(Batch(b"".join(data), len(data)))
        if loader.loaded.rejected:
            raise ValueError(f"{name}: {loader.loaded.rejections[0]}")


def mixed_ids(rng: random.Random, count: int) -> list[Any]:
    """Return `_id`s of every BSON type that an `_id` can have, in random order."""

    def make(kind: int, number: int) -> Any:
        return (
            lambda: number,
            lambda: Int64(2**40 + number),
            lambda: number + 0.5,
            lambda: Decimal128(f"{number}.25"),
            lambda: f"text {number}",
            lambda: f"Ünïcödé {number} 日本",
            lambda: {"part": number, "of": {"a": [number, "x"]}},
            lambda: {"$ref": "x", "$id": number},
            lambda: Binary.from_uuid(uuid.UUID(int=rng.getrandbits(128))),
            lambda: Binary(rng.randbytes(20), 0),
            lambda: ObjectId(rng.randbytes(12)),
            lambda: datetime.fromtimestamp(number * 1000, UTC),
            lambda: Timestamp(number + 1, number),
            lambda: Code(f"return {number}"),
        )[kind]()

    ids = [make(number % 14, number) for number in range(count - 6)]
    ids += [MinKey(), MaxKey(), None, True, False, {}]
    rng.shuffle(ids)
    return ids


def hurtful(connection: Connection, database: str, *, seed: int = 1) -> None:
    """Fill a database with data that has broken backups somewhere; about 120 MB.

    Kinds of data that the server is too old for are left out.
    """
    rng = random.Random(seed)
    with connect(connection) as client:
        known = features_of(client)
        command = open_database(client, database).command
        command({"create": "empty"})
        command({"create": "capped", "capped": True, "size": 100_000, "max": 500})
        command({"create": "collation", "collation": {"locale": "de", "strength": 2}})
        command(
            {"create": "validated", "validator": {"n": {"$gte": 0}}, "validationAction": "warn"}
        )
        if "clustered collections" in known:
            command({"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": True}})
        if "time series" in known:
            command({"create": "series", "timeseries": {"timeField": "t", "metaField": "m"}})
        command({"create": "view", "viewOn": "mixed", "pipeline": [{"$match": {"n": {"$gt": 3}}}]})
        command({"create": "indexed"})
        command({"createIndexes": "indexed", "indexes": _indexes()})
        command({"createIndexes": "collation", "indexes": _collation_indexes()})
    for name, documents in _collections(rng, known):
        insert(connection, database, name, documents)
    for name in HURTFUL_NAMES:
        insert(connection, database, name, [{"_id": 1, "name": name}])
    if "time series" in known:
        measured = (
            {"t": datetime.fromtimestamp(1_700_000_000 + n, UTC), "m": n % 7, "v": n}
            for n in range(5000)
        )
        with connect(connection) as client:
            open_database(client, database).command(
                {"insert": "series", "documents": list(measured)}
            )


def _collections(
    rng: random.Random, known: frozenset[str]
) -> Iterator[tuple[str, Iterable[Document]]]:
    text = "".join(chr(33 + rng.randrange(90)) for _character in range(5000))

    def filled(ids: Iterable[Any]) -> Iterator[Document]:
        return ({"_id": one, "n": number, "text": text} for number, one in enumerate(ids))

    yield "mixed", filled(mixed_ids(rng, 5000))
    yield "documents as ids", filled({"b": n % 7, "a": n} for n in range(3000))
    yield (
        "uuids",
        filled(Binary.from_uuid(uuid.UUID(int=rng.getrandbits(128))) for _ in range(3000)),
    )
    yield "random ids", filled(ObjectId(rng.randbytes(12)) for _number in range(3000))
    yield "huge", ({"_id": n, "blob": rng.randbytes(16 * 1024 * 1024 - 64)} for n in range(3))
    yield "single", [{"_id": "only"}]
    yield "capped", ({"_id": -n, "n": n} for n in range(1000))
    yield "collation", ({"_id": f"Straße {n}", "n": n} for n in range(1000))
    yield "validated", ({"_id": n, "n": n - 5} for n in range(100))
    if "clustered collections" in known:
        yield "clustered", filled(range(3000))
    yield "indexed", map(_indexed, range(1000))
    yield "odd fields", _odd_fields(known)


def _indexed(n: int) -> Document:
    return {
        "_id": n,
        "u": n,
        "a": {"b": n % 10},
        "tags": [n, n + 1],
        "when": datetime.fromtimestamp(4_000_000_000 + n, UTC),
        "place": {"type": "Point", "coordinates": [n % 180, n % 90]},
        "text": f"word{n} common",
    }


def _odd_fields(known: frozenset[str]) -> list[Document]:
    return [
        {"_id": 1, "": "no name"},
        {"_id": 2, "a.b": 1, "c": {"$d": 2}},
        *([{"_id": 3, "$set": {"x": 1}}] if "fields named $" in known else []),
        {"_id": 4, "a": Regex("^x", "i"), "c": Code("f()", {"y": 1})},
        {"_id": 5, "when": datetime(1, 1, 1, tzinfo=UTC), "nan": float("nan"), "inf": float("inf")},
        {"_id": 6, "deep": _nested(90)},
    ]


def _nested(depth: int) -> Document:
    return {"n": _nested(depth - 1)} if depth else {}


def _indexes() -> list[Document]:
    return [
        {"name": "unique", "key": {"u": 1}, "unique": True},
        {"name": "compound", "key": {"a.b": 1, "u": -1}},
        {"name": "sparse", "key": {"s": 1}, "sparse": True},
        {"name": "partial", "key": {"u": -1}, "partialFilterExpression": {"u": {"$gt": 5}}},
        {"name": "expiring", "key": {"when": 1}, "expireAfterSeconds": 3600},
        {"name": "hidden", "key": {"tags": 1}, "hidden": True},
        {"name": "text", "key": {"text": "text"}, "default_language": "german"},
        {"name": "sphere", "key": {"place": "2dsphere"}},
        {"name": "hashed", "key": {"u": "hashed"}},
        {"name": "wildcard", "key": {"$**": 1}, "wildcardProjection": {"text": 0}},
        {"name": "collated", "key": {"text": 1}, "collation": {"locale": "fr", "strength": 1}},
    ]


def _collation_indexes() -> list[Document]:
    return [
        {"name": "inherits", "key": {"n": 1}},
        {"name": "simple", "key": {"n": -1}, "collation": {"locale": "simple"}},
    ]


def _tiny(rng: random.Random, count: int) -> Iterator[Document]:
    return ({"_id": n, "k": rng.getrandbits(40), "v": f"{n:060d}"} for n in range(count))


def _few_huge(rng: random.Random, count: int) -> Iterator[Document]:
    words = [f"{rng.getrandbits(64):016x}" for _word in range(500)]
    for n in range(count):
        half = rng.randbytes(200_000) + " ".join(rng.choices(words, k=11_700)).encode()
        yield {"_id": ObjectId(), "files_id": n // 10, "n": n, "data": half}


def _random_ids(rng: random.Random, count: int) -> Iterator[Document]:
    words = [f"{rng.getrandbits(64):016x}" for _word in range(500)]
    for n in range(count):
        yield {"_id": rng.randbytes(12).hex(), "n": n, "text": " ".join(rng.choices(words, k=35))}


def _incompressible(rng: random.Random, count: int) -> Iterator[Document]:
    return ({"_id": n, "data": rng.randbytes(2_000)} for n in range(count))


SHAPES: dict[str, tuple[Callable[[random.Random, int], Iterator[Document]], int]] = {
    "tiny": (_tiny, 100),
    "huge": (_few_huge, 400_000),
    "random-ids": (_random_ids, 670),
    "incompressible": (_incompressible, 2_030),
}
"""Single collections for the benchmarks: a generator of documents, and the size of one in bytes."""
