"""Time series: what their buckets hold, restored once and again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

import fastdump
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from fastdump.model import LoadOptions
from tests.acted import refuse_mixed_buckets
from tests.conftest import Server
from tests.proxy import Forward, WireProxy, refusal

Document = dict[str, Any]
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def time_series(any_server: Server) -> None:
    with any_server.client() as client:
        if client.server_info()["versionArray"] < [5]:
            pytest.skip("MongoDB has time series since 5.0")


@pytest.fixture
def proxy(any_server: Server) -> Iterator[WireProxy]:
    with WireProxy(any_server.uri) as proxy:
        yield proxy


def measured(server: Server, database: str, numbers: range, name: str = "s") -> None:
    """Add a measurement of each second, of three sensors."""
    with server.client() as client:
        found = client[database]
        if name not in found.list_collection_names():
            found.create_collection(name, timeseries={"timeField": "at", "metaField": "m"})
        found[name].insert_many(
            {"_id": n, "at": BEGIN + timedelta(seconds=n), "m": n % 3, "v": n} for n in numbers
        )


def measurements(server: Server, database: str, name: str = "s") -> list[Document]:
    with server.client() as client:
        return sorted(client[database][name].find(), key=repr)


def same(server: Server, database: str, target: str) -> bool:
    one, other = (state(server.connection, name) for name in (database, target))
    return differences(one, other) == []


def mixed(value: object, number: int) -> Document:
    """A bucket of two measurements whose `v` is of different types."""
    at = BEGIN + timedelta(seconds=number)
    return {
        "_id": ObjectId(number.to_bytes(12)),
        "control": {"version": 1, "min": {"at": at, "v": 1}, "max": {"at": at, "v": value}},
        "meta": 1,
        "data": {"at": {"0": at, "1": at}, "v": {"0": 1, "1": value}},
    }


def allow_mixed(server: Server, database: str) -> None:
    with server.client() as client:
        command = {"collMod": "s", "timeseriesBucketsMayHaveMixedSchemaData": True}
        client[database].command(command, check=False)  # older servers do not know it


def test_buckets_of_mixed_schema(proxy: WireProxy, any_server: Server, tmp_path: Path) -> None:
    """Newer servers answer 408 until they are told, and so does the proxy."""
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(30))
    allow_mixed(any_server, database)
    with any_server.client() as client:
        client[database]["system.buckets.s"].insert_many(mixed("x", n) for n in range(1, 6))
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    refuse_mixed_buckets(proxy)
    # With all options that it had, the new series would be told already.
    options = LoadOptions(collection_options=False)
    report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path, options=options)
    assert (report.complete, report.inserted) == (True, 8)
    assert proxy.seen["collMod"] == 1
    assert measurements(any_server, target) == measurements(any_server, database)


def test_who_may_not_allow_mixed_schema_is_told(
    proxy: WireProxy, any_server: Server, tmp_path: Path
) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(30))
    allow_mixed(any_server, database)
    with any_server.client() as client:
        client[database]["system.buckets.s"].insert_many(mixed("x", n) for n in range(1, 6))
    fastdump.backup(any_server.uri, db=database, folder=tmp_path)
    refuse_mixed_buckets(proxy)
    proxy.refuse("collMod", 13, "not authorized")
    report = fastdump.restore(
        proxy.uri,
        target_db=target,
        folder=tmp_path,
        options=LoadOptions(collection_options=False),
    )
    assert (report.complete, report.inserted, report.rejected) == (False, 3, 5)
    ((reason, count),) = report.reasons
    assert ("collMod" in reason, count) == (True, 5)


@pytest.mark.parametrize("names_index", [True, False], ids=["index", "no index"])
def test_a_large_series_is_cut(
    proxy: WireProxy,
    any_server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    names_index: bool,
) -> None:
    """MongoDB 5.0 keeps buckets by their `_id`s without an index that a query could name."""
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(0, 400 * 3600, 3600))
    insert(
        any_server.connection, database, "plain", ({"_id": n, "x": "y" * 500} for n in range(900))
    )

    def find(command: Document, forward: Forward) -> Document:
        if command["find"].startswith("system.buckets.") and "_id" in command.get("hint", {}):
            return refusal(2, "hint provided does not correspond to an existing index")
        return forward(command)

    if not names_index:
        proxy.around("find", find)
    report = fastdump.backup(proxy.uri, db=database, folder=tmp_path)
    assert report.documents == 400 + 900
    fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    assert same(any_server, database, target)
