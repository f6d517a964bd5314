"""The queries that read documents: in order by an index, with a hint, and without a time limit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import fastdump
from benchmarks.shapes import insert, mixed_ids
from fastdump.engine import planner
from fastdump.mongo.client import open_database
from tests.conftest import Server
from tests.proxy import Document, Forward, WireProxy, refusal, without

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
