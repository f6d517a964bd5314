"""Documents are written over different ones, whatever is in them and whatever the server is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import bson
import pytest
from bson import Timestamp
from bson.raw_bson import RawBSONDocument

import fastdump
from benchmarks.shapes import insert
from fastdump.codec.bson import Batch
from fastdump.demo.compare import differences, state
from fastdump.model import LoadOptions, Namespace
from fastdump.mongo.client import RAW, connect
from fastdump.mongo.load import Loader
from tests.acted import Mongos, refuse_dollars_in_updates
from tests.conftest import Server
from tests.proxy import WireProxy

Document = dict[str, Any]
EMPTY = Timestamp(0, 0)


def twice(document: Document) -> bytes:
    """A document in which a name occurs twice."""
    return bson.encode(document).replace(b"twicf", b"twice")


BELOW = {
    "dollar below": bson.encode({"_id": 1, "a": {"$x": 1}, "b": [{"$set": {"$y.z": 1}}]}),
    "reference": bson.encode({"_id": 1, "a": {"$ref": "c", "$id": 1, "$db": "d", "more": 1}}),
    "no reference": bson.encode({"_id": 1, "a": {"$id": 1, "$ref": "c"}}),
    "dots": bson.encode({"_id": 1, "a.b": 1, "c": {"d.e": 1, "": 1}, "": 2}),
    "zero below": bson.encode({"_id": 1, "a": {"$x": 1, "t": EMPTY}, "b": [EMPTY]}),
    "zero": bson.encode({"_id": 1, "t": EMPTY, "a": {"t": EMPTY}}),
    "twice": twice({"_id": 1, "twice": 1, "twicf": 2}),
    "twice below": twice({"_id": 1, "a": {"$x": 1, "twice": 1, "twicf": 2}}),
}
"""Of these, no name begins with a dollar at the top level."""

ABOVE = {
    "operator": bson.encode({"_id": 1, "$set": {"x": 1}}),
    "dollar": bson.encode({"_id": 1, "$price": 1, "a": {"$x": 1}}),
    "dollar alone": bson.encode({"_id": 1, "x": 1, "$": 1}),
    "dollar and zero": bson.encode({"_id": 1, "t": EMPTY, "$price": 1, "a": {"t": EMPTY}}),
    "dollar and twice": twice({"_id": 1, "$price": 1, "twice": 1, "twicf": 2}),
    "zero and twice": twice({"_id": 1, "t": EMPTY, "$x": 1, "twice": 1, "twicf": 2}),
}


def stores_dollars(server: Server) -> bool:
    """Whether it takes them at the top level."""
    with server.client() as client:
        return bool(client.server_info()["versionArray"] >= [5])


@pytest.fixture
def proxy(any_server: Server) -> Iterator[WireProxy]:
    with WireProxy(any_server.uri) as proxy:
        yield proxy


def loader(uri: str, database: str, *, shard_key: tuple[bytes, ...] = ()) -> Loader:
    connection = fastdump.config.described(uri)
    how = LoadOptions(write_concern="1")
    return Loader(
        connect(connection),
        connection,
        Namespace(database, "c"),
        how,
        keeps_empty=False,
        shard_key=shard_key,
    )


def stored(server: Server, database: str) -> list[bytes]:
    with server.client() as client:
        found = client[database].get_collection("c", codec_options=RAW).find(sort=[("_id", 1)])
        return [bytes(cast("RawBSONDocument", one).raw) for one in found]


def counts(one: Loader) -> tuple[int, int, int, int]:
    found = one.loaded
    return found.inserted, found.replaced, found.unchanged, found.rejected


@pytest.mark.parametrize("over", [{"_id": 1}, {"_id": 1, "a": {"x": 1}, "twice": 0, "t": 5}])
@pytest.mark.parametrize("name", [*BELOW, *ABOVE])
def test_whatever_can_be_inserted_replaces(any_server: Server, name: str, over: Document) -> None:
    if name in ABOVE and not stores_dollars(any_server):
        pytest.skip("MongoDB stores no dollars at the top level before 5.0")
    database, document = any_server.new_database(), {**BELOW, **ABOVE}[name]
    insert(any_server.connection, database, "c", [{"_id": 0}, over, {"_id": 2}])
    for expected in ((0, 1, 0, 0), (0, 0, 1, 0)):
        loading = loader(any_server.uri, database)
        loading.load(Batch(document, 1))
        assert counts(loading) == expected
    assert stored(any_server, database) == [
        bson.encode({"_id": 0}), document, bson.encode({"_id": 2})
    ]  # fmt: skip


def test_what_a_server_does_not_store_leaves_what_is_there(any_server: Server) -> None:
    if stores_dollars(any_server):
        pytest.skip("MongoDB stores dollars at the top level since 5.0")
    for name, document in ABOVE.items():
        database = any_server.new_database()
        insert(any_server.connection, database, "c", [{"_id": 1, "old": 1}])
        loading = loader(any_server.uri, database)
        loading.load(Batch(document, 1))
        assert (name, counts(loading)) == (name, (0, 0, 0, 1))
        assert stored(any_server, database) == [bson.encode({"_id": 1, "old": 1})]


@pytest.mark.parametrize("name", [name for name in BELOW if name != "zero"])
def test_where_updates_refuse_what_inserts_take(
    proxy: WireProxy, any_server: Server, name: str
) -> None:
    """MongoDB 4.4."""
    refuse_dollars_in_updates(proxy)
    database, document = any_server.new_database(), BELOW[name]
    insert(any_server.connection, database, "c", [{"_id": 1}, {"_id": 2, "a": 0}])
    other = bson.encode({"_id": 2, "a": 1})
    loading = loader(proxy.uri, database)
    loading.load(Batch(document + other, 2))
    assert counts(loading) == (0, 2, 0, 0)
    assert stored(any_server, database) == [document, other]
    # A loader that has seen mostly collisions inserts with upserts.
    new = bson.encode({**bson.decode(document), "_id": 3})
    loading.load(Batch(document + new, 2))
    assert counts(loading) == (1, 2, 1, 0)
    assert stored(any_server, database) == [document, other, new]


def test_a_refused_document_leaves_what_is_there(proxy: WireProxy, any_server: Server) -> None:
    refuse_dollars_in_updates(proxy)
    database = any_server.new_database()
    held = [{"_id": 1, "n": 1}, {"_id": 2, "n": 2}, {"_id": 3, "n": 3}]
    insert(any_server.connection, database, "c", held)
    with any_server.client() as client:
        client[database]["c"].create_index("n", unique=True)
        client[database].command({"collMod": "c", "validator": {"n": {"$lt": 3}}})
    loading = loader(proxy.uri, database)
    documents = [{"_id": 1, "a": {"$x": 1}, "n": 2}, {"_id": 3, "a": {"$x": 1}, "n": 4}]
    loading.load(Batch(b"".join(map(bson.encode, documents)), 2))
    assert counts(loading) == (0, 0, 0, 2)
    assert sorted(loading.loaded.reasons) == [
        "a unique index on another field",
        "the collection's validator",
    ]
    assert stored(any_server, database) == [bson.encode(one) for one in held]


def test_a_restore_over_everything_changed(any_server: Server, tmp_path: Path) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    found = {**BELOW, **ABOVE} if stores_dollars(any_server) else BELOW
    for number, document in enumerate(found.values()):
        name = f"c{number}"
        insert(any_server.connection, database, name, [])
        with any_server.client() as client:
            client[database].create_collection(name)
        loading = loader(any_server.uri, database)
        loading.load(Batch(document.replace(b"\x10_id\0\x01", b"\x10_id\0" + bytes([number])), 1))
    assert len(stored(any_server, database)) == len(found)
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    for over in ((len(found), 0), (0, len(found))):
        report = fastdump.restore(any_server.uri, target_db=target, folder=tmp_path)
        assert (report.complete, report.inserted, report.replaced) == (True, *over)
        one, other = (state(any_server.connection, name) for name in (database, target))
        assert differences(one, other) == []
        with any_server.client() as client:
            client[target]["c"].update_many({}, [{"$replaceWith": {"_id": "$_id", "x": "changed"}}])


@pytest.mark.parametrize("tells", [True, False], ids=["config", "indexes"])
def test_a_sharded_collection(replica_set: Server, tmp_path: Path, *, tells: bool) -> None:
    """The shard key is in each query, nothing is written twice, and what moves is moved."""
    database, target = replica_set.new_database(), replica_set.new_database()
    documents = [{"_id": n, "at": {"n": n % 10}, "v": n} for n in range(50)]
    documents += [{"_id": 50, "v": 1}, {"_id": 51, "at": {"n": None}}, {"_id": 52, "at": 5}]
    for name in (database, target):
        insert(replica_set.connection, name, "c", documents)
        with replica_set.client() as client:
            client[name]["c"].create_index([("at.n", 1), ("v", "hashed")])
            client[name]["c"].create_index([("v", "text")])
    fastdump.backup(replica_set.uri, db=database, folder=tmp_path)
    with replica_set.client() as client:
        found = client[target]["c"]
        found.update_many({"_id": {"$lt": 5}}, {"$set": {"v": -1}})
        found.update_many({"_id": {"$gte": 5, "$lt": 12}}, {"$set": {"at.n": 77}})
        found.update_many({"_id": {"$in": [50, 51]}}, {"$set": {"x": 1}})
        found.update_one({"_id": 52}, {"$set": {"at": {"n": 6}}})
        found.delete_many({"_id": {"$gte": 40, "$lt": 45}})
    with WireProxy(replica_set.uri) as proxy:
        mongos = Mongos(proxy, replica_set, target, "at.n", tells=tells)
        report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
        assert report.rejections == ()
        assert (report.complete, report.inserted, report.replaced) == (True, 5, 15)
        one, other = (state(replica_set.connection, name) for name in (database, target))
        assert differences(one, other) == []
        assert mongos.doubled == []
        again = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
        assert (again.inserted, again.replaced, again.unchanged) == (0, 0, 53)


def test_a_move_that_is_refused_changes_nothing(replica_set: Server) -> None:
    database = replica_set.new_database()
    held = [{"_id": 1, "k": 1, "v": 1}, {"_id": 2, "k": 1, "v": 2}]
    insert(replica_set.connection, database, "c", held)
    with replica_set.client() as client:
        client[database]["c"].create_index("v", unique=True)
    with WireProxy(replica_set.uri) as proxy:
        Mongos(proxy, replica_set, database, "k")
        loading = loader(proxy.uri, database, shard_key=(b"k",))
        loading.load(Batch(bson.encode({"_id": 1, "k": 5, "v": 2}), 1))
    assert counts(loading) == (0, 0, 0, 1)
    assert sorted(loading.loaded.reasons) == ["a unique index on another field"]
    assert stored(replica_set, database) == [bson.encode(one) for one in held]


def test_without_the_shard_key_the_reason_is_told(
    proxy: WireProxy, any_server: Server, tmp_path: Path
) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    insert(any_server.connection, database, "c", [{"_id": 1, "k": 1, "v": 1}])
    insert(any_server.connection, target, "c", [{"_id": 1, "k": 1, "v": 2}])
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    Mongos(proxy, any_server, target, "k", tells=False)
    proxy.refuse("listIndexes", 13, "not authorized")
    report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    assert (report.complete, report.rejected) == (False, 1)
    ((reason, _count),) = report.reasons
    assert "config.collections" in reason


def test_a_full_capped_collection_restored_again_loses_nothing(
    any_server: Server, tmp_path: Path
) -> None:
    """MongoDB 4.4 removes the oldest document for an insert that it then refuses."""
    database, target = any_server.new_database(), any_server.new_database()
    with any_server.client() as client:
        client[database].create_collection("c", capped=True, size=100_000, max=50)
        client[database]["c"].insert_many({"_id": -n} for n in range(80))
        fastdump.backup(any_server.uri, db=database, folder=tmp_path)
        for inserted in (50, 0):
            report = fastdump.restore(any_server.uri, target_db=target, folder=tmp_path)
            assert (report.complete, report.inserted) == (True, inserted)
            found = [one["_id"] for one in client[target]["c"].find().sort("$natural", 1)]
            assert found == [-n for n in range(30, 80)]
