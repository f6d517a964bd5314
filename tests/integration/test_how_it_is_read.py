"""The queries that read documents: in order by an index, with a hint, and without a time limit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import bson
import pytest

import fastdump
from benchmarks.shapes import insert, mixed_ids
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from fastdump.model import CollectionFilter, ReadOptions
from fastdump.mongo.client import open_database
from tests.conftest import Server
from tests.proxy import Document, Forward, WireProxy, refusal, without

SIZE = 3000
OF_A_SESSION = ("$db", "lsid", "$clusterTime", "$readPreference", "readConcern", "collectionUUID")


@pytest.mark.parametrize("by", ["record", "_id"])
def test_no_query_sorts_scans_unasked_or_ends_by_itself(
    any_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Through a mongos, only a `sort` keeps the order of `_id`; MongoDB 8.0 can limit all queries,
    and some servers refuse a query that names no index."""
    monkeypatch.setattr(planner, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    database = any_server.new_database()
    documents = ({"_id": one, "p": "x" * 500} for one in mixed_ids(random.Random(3), 3000))
    insert(any_server.connection, database, "c", documents)
    found: list[Document] = []

    def find(command: Document, forward: Forward) -> Document:
        if by == "_id" and "showRecordId" in command:
            return refusal(115, "not supported")
        if command["find"] == "c":
            found.append(without(command, *OF_A_SESSION))
        return forward(command)

    with WireProxy(any_server.uri) as proxy:
        proxy.around("find", find)
        fastdump.backup(proxy.uri, db=database, folder=tmp_path, workers=1)
    reading = [one for one in found if "limit" not in one and not one.get("singleBatch")]
    assert len(reading) > 5
    assert all("hint" in one for one in found)
    assert all(one["maxTimeMS"] == 0 for one in reading)
    ranges = [one for one in reading if "min" in one or "max" in one]
    assert bool(ranges) == (by == "_id")
    assert all(dict(one["sort"]) == {"_id": 1} for one in ranges)
    with any_server.client() as client:
        for one in ranges:
            command = {"explain": without(one, "maxTimeMS"), "verbosity": "queryPlanner"}
            plan = open_database(client, database).command(command)
            assert "SORT" not in str(plan["queryPlanner"]["winningPlan"])


def test_an_unlucky_sample_is_taken_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not leave a large collection to one worker."""
    monkeypatch.setattr(planner, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    database = server.new_database()
    insert(server.connection, database, "c", ({"_id": n, "p": "x" * 500} for n in range(SIZE)))
    samples, ranges = [], []

    def aggregate(command: Document, forward: Forward) -> Document:
        if "$sample" in command["pipeline"][0]:
            samples.append(command)
            if len(samples) == 1:
                return refusal(28799, "$sample stage could not find a non-duplicate document")
            if len(samples) == 2:
                return forward({**command, "pipeline": [{"$match": {"_id": "none"}}]})
        return forward(command)

    def find(command: Document, forward: Forward) -> Document:
        if "showRecordId" in command:
            return refusal(115, "not supported")
        if "min" in command and not command.get("singleBatch"):
            ranges.append(command)
        return forward(command)

    with WireProxy(server.uri) as proxy:
        proxy.around("aggregate", aggregate)
        proxy.around("find", find)
        fastdump.backup(proxy.uri, db=database, folder=tmp_path, workers=1)
    assert len(samples) == 3
    assert len(ranges) > 3


class Shards:
    """Acts out a mongos that merges what its shards send as it comes, unless a sort is asked for.

    It says that it knows no record ids, and loses its cursors after a few batches.
    """

    def __init__(self, proxy: WireProxy, documents: int) -> None:
        self._waiting: dict[int, list[Any]] = {}
        self._random = random.Random(4)
        self._batch = documents
        self.lost = self.in_order = self.as_it_comes = 0
        proxy.around("find", self._find)
        proxy.around("getMore", self._get_more)

    def _find(self, command: Document, forward: Forward) -> Document:
        if "showRecordId" in command or "$_requestResumeToken" in command:
            return refusal(115, "not supported")
        if command["find"] != "c" or "limit" in command or command.get("singleBatch"):
            return forward(command)
        reply = forward({**command, "batchSize": SIZE, "singleBatch": True})
        found = list(reply["cursor"]["firstBatch"])
        if "sort" in command:
            self.in_order += 1
        else:
            self.as_it_comes += 1
            self._random.shuffle(found)
        return self._next(found, reply["cursor"]["ns"], "firstBatch")

    def _get_more(self, command: Document, forward: Forward) -> Document:
        found = self._waiting.pop(command["getMore"], None)
        if found is None:
            return forward(command)
        if self._random.random() < 0.2:
            self.lost += 1
            return refusal(43, "cursor not found")
        return self._next(found, f"{command['$db']}.c", "nextBatch")

    def _next(self, found: list[Any], namespace: str, name: str) -> Document:
        batch, rest = found[: self._batch], found[self._batch :]
        cursor = self._random.getrandbits(60) if rest else 0
        if rest:
            self._waiting[cursor] = rest
        answer = {"id": bson.Int64(cursor), "ns": namespace, name: batch}
        return {"cursor": answer, "ok": 1.0}


@pytest.mark.parametrize("query", [None, '{"n": {"$gte": 0}}'], ids=["all", "filter"])
def test_a_mongos_that_loses_cursors(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str | None
) -> None:
    """Reading goes on after the last `_id`: no document is lost, and none is read twice."""
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 200_000)
    database, target = server.new_database(), server.new_database()
    ids = mixed_ids(random.Random(3), SIZE)
    documents = ({"_id": one, "n": n, "p": "x" * 500} for n, one in enumerate(ids))
    insert(server.connection, database, "c", documents)
    with WireProxy(server.uri) as proxy:
        shards = Shards(proxy, 20)
        report = fastdump.backup(
            proxy.uri,
            db=database,
            folder=tmp_path,
            collections=fastdump.CollectionFilter(query=query),
        )
    assert report.documents == SIZE
    assert shards.lost == report.interruptions
    assert shards.lost > 10
    assert shards.in_order > 5
    fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    one, other = (state(server.connection, name) for name in (database, target))
    assert differences(one, other) == []


def test_a_server_that_limits_every_query(any_server: Server, tmp_path: Path) -> None:
    """`defaultMaxTimeMS` of MongoDB 8.0 holds for what names no limit of its own."""
    database, target = any_server.new_database(), any_server.new_database()
    documents = [{"_id": n, "n": n, "p": "x" * 1000} for n in range(SIZE)]
    insert(any_server.connection, database, "c", documents)
    with any_server.client() as client:
        client[database]["c"].create_index("n")
        client[database].create_collection("v", viewOn="c", pipeline=[{"$match": {"n": 5}}])

    def limited(command: Document, forward: Forward) -> Document:
        is_quick = "limit" in command or ("count" in command and "query" not in command)
        if "maxTimeMS" in command or is_quick or command["$db"] in ("config", "local"):
            return forward(command)
        return refusal(50, "operation exceeded time limit")

    with WireProxy(any_server.uri) as proxy:
        for name in ("find", "aggregate", "count"):
            proxy.around(name, limited)
        options: list[dict[str, Any]] = [
            {},
            {"collections": CollectionFilter(include=["c"], query='{"n": {"$lt": 50}}')},
            {"collections": CollectionFilter(include=["c"], query='{"p": {"$gt": "x"}}')},
            {"collections": CollectionFilter(views_as_collections=True)},
        ]
        counts = [
            fastdump.backup(proxy.uri, db=database, folder=tmp_path / str(n), **one).documents
            for n, one in enumerate(options)
        ]
        assert counts == [SIZE, 50, SIZE, 1]
        for replaced in (0, SIZE):
            report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path / "0")
            assert (report.complete, report.replaced) == (True, replaced)
            with any_server.client() as client:
                client[target]["c"].update_many({}, {"$set": {"n": -1}})


def test_a_server_that_scans_nothing_unasked(
    any_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`maxEstimatedScanBytes` of newer servers holds for what names no index nor `$natural`."""
    database = any_server.new_database()
    documents = [{"_id": n, "n": n, "p": "x" * 1000} for n in range(SIZE)]
    insert(any_server.connection, database, "c", documents)
    with any_server.client() as client:
        client[database].create_collection("v", viewOn="c", pipeline=[{"$match": {"n": 5}}])

    def find(command: Document, forward: Forward) -> Document:
        is_bounded = "hint" in command or "limit" in command or command["$db"] == "config"
        return forward(command) if is_bounded else refusal(291, "maxEstimatedScanBytes")

    def explain(_command: Document, _forward: Forward) -> Document:
        return refusal(291, "maxEstimatedScanBytes")

    options: list[dict[str, Any]] = [
        {"collections": CollectionFilter(include=["c"], query='{"n": {"$lt": 50}}')},
        {"collections": CollectionFilter(views_as_collections=True)},
        {"reading": ReadOptions(consistency="lock")},
    ]
    for size in (100_000_000, 200_000):  # whole, and cut
        monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", size)
        with WireProxy(any_server.uri) as proxy:
            proxy.around("find", find)
            proxy.around("explain", explain)
            counts = [
                fastdump.backup(
                    proxy.uri, db=database, folder=tmp_path / f"{size}-{n}", **one
                ).documents
                for n, one in enumerate(options)
            ]
        assert counts == [50, 1, SIZE]
