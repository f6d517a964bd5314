"""A round trip on each version of MongoDB that `scripts/servers` has installed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

import fastdump
from benchmarks.features import features_of
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.embedded import Mongod
from fastdump.mongo.client import open_database
from fastdump.report import LoadReport
from tests.conftest import Server, settled

SCRIPT = Path(__file__).parents[2] / "scripts/servers"
INSTALL_SECONDS = 600
VERSIONS = ["4.4.2", "5.0.4", "6.0.27"]


@cache
def installed() -> dict[str, str]:
    """The path of each server; none, and why, where they cannot be installed."""
    done = subprocess.run(
        [SCRIPT], capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
    )
    if done.returncode:
        return {"": (done.stderr.strip().splitlines() or ["scripts/servers failed"])[-1]}
    lines = (line.removeprefix("MongoDB ") for line in done.stdout.splitlines())
    return dict(line.split(": ", 1) for line in lines)


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if "" in installed():
        pytest.skip(installed()[""])
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["standalone", "replica set"])
def old_server(request: pytest.FixtureRequest, version: str) -> Iterator[Server]:
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FASTDUMP_MONGOD", installed()[version])
            mongod = stack.enter_context(Mongod(replica_set=request.param))
        yield Server(mongod.uri)


@pytest.fixture(scope="module")
def filled(old_server: Server) -> str:
    """A database with every kind of collection that the server has."""
    name = old_server.new_database()
    with old_server.client() as client:
        known = features_of(client)
        command = open_database(client, name).command
        command({"create": "capped", "capped": True, "size": 100_000, "max": 50})
        command({"create": "collation", "collation": {"locale": "de", "strength": 1}})
        email = {"$regex": "@", "$options": "i", "$ne": "x@"}
        command({"create": "validated", "validator": {"email": email}})
        command({"create": "view", "viewOn": "mixed", "pipeline": [{"$match": {"n": 1.0}}]})
        if "time series" in known:
            command({"create": "series", "timeseries": {"timeField": "t", "metaField": "m"}})
        index = {"name": "n", "key": {"n": 1.0, "m": -1}, "unique": True, "sparse": True}
        command({"createIndexes": "mixed", "indexes": [index]})
        ids = [None, 1, 2.5, "x", b"x", {"a": 1}, True, *range(100, 3000)]
        insert(old_server.connection, name, "mixed", ({"_id": one, "p": "x" * 200} for one in ids))
        insert(old_server.connection, name, "capped", ({"_id": -n} for n in range(100)))
        insert(old_server.connection, name, "validated", [{"_id": 1, "email": "a@b"}])
        insert(old_server.connection, name, "collation", [{"_id": "Straße"}])
        if "time series" in known:
            measured = [
                {"t": datetime.fromtimestamp(1_700_000_000 + n, UTC), "m": n % 3, "v": n}
                for n in range(100)
            ]
            command({"insert": "series", "documents": measured})
    return name


@pytest.mark.timeout(INSTALL_SECONDS)
@pytest.mark.parametrize("layout", ["komodo", "mongodump", "archive", "copy"])
@pytest.mark.parametrize("onto", ["the same", "6.0.5"])
def test_there_and_back(
    old_server: Server, server: Server, filled: str, tmp_path: Path, layout: str, onto: str
) -> None:
    target = old_server if onto == "the same" else server
    restored = target.new_database()
    report: LoadReport
    if layout == "copy":
        report = fastdump.copy(old_server.uri, target.uri, db=filled, target_db=restored)
    elif layout == "archive":
        fastdump.backup(
            old_server.uri,
            db=filled,
            writing=fastdump.WriteOptions(out=tmp_path / "a", layout=layout),
        )
        report = fastdump.restore(target.uri, name=tmp_path / "a", target_db=restored)
    else:
        fastdump.backup(
            old_server.uri, db=filled, folder=tmp_path, writing=fastdump.WriteOptions(layout=layout)
        )
        report = fastdump.restore(target.uri, folder=tmp_path, target_db=restored)
    assert report.complete, report.failures
    before, after = state(old_server.connection, filled), state(target.connection, restored)
    if onto != "the same":
        before, after = settled(before), settled(after)
    assert differences(before, after) == []
