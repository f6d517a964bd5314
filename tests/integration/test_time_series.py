"""Time series: what their buckets hold, restored once and again."""

from __future__ import annotations

import subprocess
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
from tests.conftest import Run, Server, command, environment
from tests.proxy import Forward, WireProxy, refusal

Document = dict[str, Any]
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)


pytestmark = pytest.mark.needs("time series")


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
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 5_000)
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(0, 400 * 3600, 3600))
    insert(
        any_server.connection, database, "plain", ({"_id": n, "x": "y" * 500} for n in range(90))
    )
    sampled = set[str]()

    def aggregate(command: Document, forward: Forward) -> Document:
        if "$sample" in command["pipeline"][0]:
            sampled.add(command["aggregate"])
        return forward(command)

    def find(command: Document, forward: Forward) -> Document:
        if command["find"].startswith("system.buckets.") and "_id" in command.get("hint", {}):
            return refusal(2, "hint provided does not correspond to an existing index")
        return forward(command)

    proxy.around("aggregate", aggregate)
    if not names_index:
        proxy.around("find", find)
    report = fastdump.backup(proxy.uri, db=database, folder=tmp_path)
    assert report.documents == 400 + 90
    assert sampled == {"system.buckets.s"}
    fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    assert same(any_server, database, target)


LAYOUTS = ["komodo", "komodo-json", "mongodump", "archive"]


def backed_up(server: Server, database: str, folder: Path, layout: str = "komodo") -> Path | None:
    """The archive, where it is one."""
    out = folder / "archive" if layout == "archive" else None
    fastdump.backup(
        server.uri,
        db=database,
        folder=folder,
        writing=fastdump.WriteOptions(layout=layout, out=out),
    )
    return out


def grow(server: Server, database: str) -> None:
    """Add measurements to buckets that the server still has open."""
    measured(server, database, range(1000, 1030))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_series_restores_twice(any_server: Server, tmp_path: Path, layout: str) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(300))
    out = backed_up(any_server, database, tmp_path, layout)
    for inserted in (3, 0):
        report = fastdump.restore(any_server.uri, target_db=target, folder=tmp_path, name=out)
        assert (report.complete, report.inserted, report.replaced) == (True, inserted, 0)
        assert same(any_server, database, target)
    # What was lost or changed meanwhile is as it was, and what is new stays.
    with any_server.client() as client:
        buckets = client[target]["system.buckets.s"]
        buckets.delete_one({"meta": 1})
        buckets.update_one({"meta": 2}, {"$set": {"data.v.0": -1}})
    measured(any_server, target, range(5000, 5003))
    report = fastdump.restore(any_server.uri, target_db=target, folder=tmp_path, name=out)
    assert (report.complete, report.inserted, report.replaced) == (True, 1, 1)
    expected = measurements(any_server, database)
    found = measurements(any_server, target)
    assert [one for one in found if one["_id"] < 5000] == expected
    assert len(found) == 303


def test_a_series_is_copied_twice(any_server: Server, tmp_path: Path) -> None:
    """The second time with what the source has more."""
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(300))
    for _time in range(2):
        report = fastdump.copy(any_server.uri, any_server.uri, db=database, target_db=target)
        assert report.complete
        assert same(any_server, database, target)
        grow(any_server, database)
    assert report.unchanged + report.replaced == 3


def test_no_measurement_is_lost_to_an_older_bucket(any_server: Server, tmp_path: Path) -> None:
    """A bucket that has grown since is left as it is, and that is said."""
    database = any_server.new_database()
    measured(any_server, database, range(300))
    backed_up(any_server, database, tmp_path)
    grow(any_server, database)
    with any_server.client() as client:
        buckets = client[database]["system.buckets.s"]
        assert buckets.count_documents({}) == 3, "the server has not added to its buckets"
        buckets.delete_one({"meta": 1})
    before = measurements(any_server, database)
    report = fastdump.restore(any_server.uri, target_db=database, folder=tmp_path)
    assert (report.complete, report.inserted, report.rejected) == (False, 1, 2)
    assert report.reasons == (("a bucket with more measurements on the target", 2),)
    assert "110 measurements on the target and 100 in" in report.rejections[0].reason
    after = measurements(any_server, database)
    assert [one for one in after if one["m"] != 1] == before
    assert {one["_id"] for one in after if one["m"] == 1} == set(range(1, 300, 3))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_measurements_are_not_mixed(
    fastdump: Run, any_server: Server, tmp_path: Path, layout: str
) -> None:
    """The target got them in another way: that is said before anything is written."""
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(300))
    insert(any_server.connection, database, "plain", [{"_id": 1}])
    out = backed_up(any_server, database, tmp_path, layout)
    measured(any_server, target, range(300))
    which = [out] if out else []
    arguments = (
        "--target-uri",
        any_server.uri,
        "--target-db",
        target,
        "-f",
        tmp_path,
        "-y",
        *which,
    )
    done = fastdump("restore", *arguments)
    assert done.code == 2
    assert f"{target}.s is a time series that holds measurements" in done.err
    assert "--drop" in done.err
    with any_server.client() as client:
        assert "plain" not in client[target].list_collection_names()
    assert len(measurements(any_server, target)) == 300
    source = ("--uri", any_server.uri, "--db", database)
    copied = fastdump("copy", *source, "--target-uri", any_server.uri, "--target-db", target, "-y")
    assert (copied.code, "holds measurements" in copied.err) == (2, True)
    assert fastdump("restore", *arguments, "--ns-exclude", "*.s").code == 0
    assert fastdump("restore", *arguments, "--drop").code == 0
    assert same(any_server, database, target)


def test_an_archive_that_comes_by_itself(any_server: Server, tmp_path: Path) -> None:
    """What is in it cannot be looked up beforehand; where nothing is in the way, it is restored."""
    database, target = any_server.new_database(), any_server.new_database()
    measured(any_server, database, range(300))
    out = backed_up(any_server, database, tmp_path, "archive")
    assert out is not None
    arguments = ("restore", "--target-uri", any_server.uri, "--target-db", target, "-y", "-")
    outcomes = [
        subprocess.run(
            command(*arguments),
            env=environment(),
            input=out.read_bytes(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        for _time in range(2)
    ]
    assert [one.returncode for one in outcomes] == [0, 2]
    assert b"restore from a file" in outcomes[1].stderr
    assert same(any_server, database, target)


def test_nothing_is_mixed_into_by_an_empty_series(any_server: Server, tmp_path: Path) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    with any_server.client() as client:
        client[database].create_collection("s", timeseries={"timeField": "at", "metaField": "m"})
    backed_up(any_server, database, tmp_path)
    measured(any_server, target, range(300))
    assert fastdump.restore(any_server.uri, target_db=target, folder=tmp_path).complete
    assert len(measurements(any_server, target)) == 300


def test_buckets_of_mixed_schema_over_others(
    proxy: WireProxy, any_server: Server, tmp_path: Path
) -> None:
    database, target = any_server.new_database(), any_server.new_database()
    for name, value in ((database, "x"), (target, 2)):
        measured(any_server, name, range(1))
        allow_mixed(any_server, name)
        with any_server.client() as client:
            client[name]["system.buckets.s"].insert_many(mixed(value, n) for n in range(1, 6))
    backed_up(any_server, database, tmp_path)
    refuse_mixed_buckets(proxy)
    report = fastdump.restore(proxy.uri, target_db=target, folder=tmp_path)
    assert (report.complete, report.inserted, report.replaced) == (True, 1, 5)
    assert proxy.seen["collMod"] == 1
