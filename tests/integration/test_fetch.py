"""Chunks of a collection hold each of its documents exactly once, however it is cut."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import closing
from typing import Any, cast

import bson
import pytest
from bson import MaxKey, MinKey
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from benchmarks.shapes import insert, mixed_ids
from fastdump.codec.bson import spans
from fastdump.engine.planner import cut
from fastdump.model import NO_OPTIONS, Bounds, Chunk, Collection, CollectionKind
from fastdump.mongo import bounds
from fastdump.mongo.bounds import BoundFinder
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import connect
from fastdump.mongo.fetch import fetch
from tests.conftest import Server, wait_until
from tests.proxy import Document, Forward, WireProxy

PIECES = 7


def collection(database: str, documents: int) -> Collection:
    return Collection(
        database, "c", CollectionKind.COLLECTION, NO_OPTIONS, (), documents, documents * 500
    )


def fill(server: Server, ids: list[Any]) -> str:
    database = server.new_database()
    insert(server.connection, database, "c", ({"_id": one, "p": "x" * 500} for one in ids))
    return database


def read(server: Server, database: str, chunks: list[Chunk]) -> list[bytes]:
    """All documents of all chunks."""
    found = []
    with server.client() as client:
        for chunk in chunks:
            for batch in fetch(client, server.connection, chunk, lambda _error: None):
                inside = spans(batch.data)
                assert len(inside) == batch.documents
                found += [batch.data[start:end] for start, end in inside]
    return found


def stored(server: Server, database: str) -> list[bytes]:
    options = bson.CodecOptions(document_class=RawBSONDocument)
    with server.client() as client:
        everything = client[database].get_collection("c", codec_options=options).find()
        return [bytes(cast("RawBSONDocument", document).raw) for document in everything]


def bounds_of(server: Server, database: str) -> Bounds:
    with server.client() as client:
        return BoundFinder(client, records=True).find(collection(database, 100), PIECES)


def check(server: Server, database: str, chunks: list[Chunk]) -> None:
    assert sorted(read(server, database, chunks)) == sorted(stored(server, database))


def test_by_record(server: Server) -> None:
    database = fill(server, mixed_ids(random.Random(1), 4000))
    found = bounds_of(server, database)
    assert len(found.records) == PIECES - 1
    chunks = cut(collection(database, 4000), found)
    check(server, database, chunks)
    sizes = [len(read(server, database, [chunk])) for chunk in chunks]
    assert max(sizes) - min(sizes) < 10


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.02])
def test_by_record_where_records_are_missing(server: Server, kept: float) -> None:
    rng = random.Random(2)
    database = fill(server, list(range(20_000)))
    with server.client() as client:
        client[database]["c"].delete_many(
            {"_id": {"$in": [n for n in range(20_000) if rng.random() > kept]}}
        )
    found = bounds_of(server, database)
    assert len(found.records) >= PIECES - 2
    check(server, database, cut(collection(database, 20_000), found))


@pytest.mark.parametrize("gone", [1, 40, 3000], ids=["the one", "40 of them", "all before"])
def test_a_bound_that_was_deleted_since_the_plan(server: Server, gone: int) -> None:
    database = fill(server, list(range(1, 3001)))
    found = bounds_of(server, database)
    with server.client() as client:
        for record in found.records[:3]:
            # Inserted in order into a new collection: the record id is the _id.
            doomed = {"_id": {"$gt": record - gone, "$lte": record}}
            assert client[database]["c"].delete_many(doomed).deleted_count
    check(server, database, cut(collection(database, 3000), found))


def test_by_id_over_all_types(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_arguments: object) -> tuple[int, ...]:
        return ()

    monkeypatch.setattr(bounds, "_record_bounds", unsupported)
    for count in (6, 60, 4000):
        database = fill(server, mixed_ids(random.Random(count), count))
        found = bounds_of(server, database)
        assert found.ids
        check(server, database, cut(collection(database, count), found))


def test_a_server_that_knows_no_record_ids_is_asked_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refused(_client: object, _database: object, source: Access, _n: int) -> tuple[int, ...]:
        asked.append(source.collection)
        raise OperationFailure("unknown")

    monkeypatch.setattr(bounds, "_record_bounds", refused)
    database = fill(server, list(range(4000)))
    with server.client() as client:
        finder = BoundFinder(client, records=True)
        assert finder.find(collection(database, 100), PIECES).ids
        assert finder.find(collection(database, 100), PIECES).ids
    assert asked == ["c"]


def test_by_id_where_a_bound_is_next_to_the_ends(server: Server) -> None:
    ids = [MinKey(), None, 1, MaxKey()]
    database = fill(server, ids)
    for one in (None, 1):
        at = Bounds(ids=(bson.encode({"_id": one}),))
        check(server, database, cut(collection(database, 4), at))


@pytest.mark.needs("clustered collections")
def test_a_clustered_collection_is_cut_by_id(server: Server) -> None:
    database = server.new_database()
    with server.client() as client:
        client[database].create_collection("c", clusteredIndex={"key": {"_id": 1}, "unique": True})
    insert(server.connection, database, "c", ({"_id": n} for n in range(3000)))
    found = bounds_of(server, database)
    assert found.ids
    assert not found.records
    check(server, database, cut(collection(database, 3000), found))


def test_an_empty_or_missing_collection_is_not_cut(server: Server) -> None:
    database = server.new_database()
    assert bounds_of(server, database) == Bounds()
    assert read(server, database, cut(collection(database, 0), Bounds())) == []


def test_large_and_small_documents_in_one_collection(server: Server) -> None:
    database = server.new_database()
    sizes = [10, 3_000_000, 10, 16_000_000, 200_000] * 3
    documents = [{"_id": n, "p": b"x" * size} for n, size in enumerate(sizes)]
    insert(server.connection, database, "c", documents)
    check(server, database, cut(collection(database, 15), bounds_of(server, database)))
    check(server, database, cut(collection(database, 15), Bounds()))


@pytest.mark.parametrize("command", ["find", "getMore"])
def test_an_interrupt_before_the_reply_leaves_no_cursor(server: Server, command: str) -> None:
    """The server has opened a cursor, and its number was not read yet."""
    database = fill(server, list(range(5000)))
    before = cursors_open(server)

    def end(_number: int, _frame: object) -> None:
        raise SystemExit

    usual = signal.signal(signal.SIGUSR1, end)

    def answer(sent: Document, forward: Forward) -> Document:
        reply = forward(sent)
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.3)  # the reply comes later than the signal
        return reply

    try:
        with WireProxy(server.uri) as proxy:
            proxy.around(command, answer)
            connection = Server(proxy.uri).connection
            (chunk,) = cut(collection(database, 5000), Bounds())
            with (
                connect(connection) as client,
                closing(fetch(client, connection, chunk, lambda _error: None)) as batches,
                pytest.raises(SystemExit),
            ):
                list(batches)
    finally:
        signal.signal(signal.SIGUSR1, usual)
    wait_until(lambda: cursors_open(server) <= before, "a cursor was left open")


def cursors_open(server: Server) -> int:
    with server.client() as client:
        return int(client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"])
