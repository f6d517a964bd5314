"""A target that knows other options, makes something else, or has another kind in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

from fastdump.demo.compare import state
from fastdump.mongo.client import Client, open_database
from tests.conftest import Run, Server, knows
from tests.proxy import Document, Forward, WireProxy, without

COLLATION = {"locale": "de", "strength": 2}
VALIDATOR = {"a": {"$exists": True}}
DOCUMENT = bson.encode({"_id": 1, "a": 1})


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def proxy(server: Server) -> Iterator[WireProxy]:
    with WireProxy(server.uri) as proxy:
        yield proxy


def dumped(folder: Path, options: dict[str, Any], name: str = "c") -> Path:
    """Write what mongodump would of a collection with one document."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.bson").write_bytes(DOCUMENT)
    (folder / f"{name}.metadata.json").write_text(
        json.dumps({"options": options, "indexes": [], "collectionName": name})
    )
    return folder


def options_of(client: Client, database: str, name: str) -> dict[str, Any]:
    (found,) = open_database(client, database).list_collections(filter={"name": name})
    options: dict[str, Any] = found["options"]
    return options


@pytest.mark.parametrize(
    "dead",
    [
        {"autoIndexId": False}, {"size": 5000}, {"max": 5}, {"temp": True}, {"flags": 1},
        {"usePowerOf2Sizes": True}, {"noPadding": False}, {"recordIdsReplicated": True},
        {"autoIndexId": False, "usePowerOf2Sizes": True, "temp": True},
    ],
    ids=str,
)  # fmt: skip
def test_a_dead_option_does_not_cost_the_others(
    server: Server, client: Client, fastdump: Run, tmp_path: Path, dead: dict[str, Any]
) -> None:
    folder = dumped(tmp_path / "d", {**dead, "collation": COLLATION, "validator": VALIDATOR})
    name = server.new_database()
    outcome = fastdump("restore", "--target-uri", server.uri, "--target-db", name, "-y", folder)
    assert outcome.code == 0, outcome.err
    options = options_of(client, name, "c")
    assert options["validator"] == VALIDATOR
    assert options["collation"]["locale"] == "de"
    assert client[name].c.count_documents({}) == 1
    if set(dead) != {"flags"}:  # that one is taken, and forgotten
        assert "means nothing any more, and was left out" in outcome.err
        assert all(one in outcome.err for one in dead)


def test_an_option_that_the_server_does_not_know_is_left_out_and_said(
    server: Server, client: Client, fastdump: Run, tmp_path: Path
) -> None:
    folder = dumped(tmp_path / "d", {"ofTheFuture": {"x": 1}, "validator": VALIDATOR})
    if knows("time series"):
        series = {"timeField": "t", "fixedBucketing": True}
        dumped(folder, {"timeseries": series}, "series")
        (folder / "series.bson").rename(folder / "system.buckets.series.bson")
        (folder / "system.buckets.series.bson").write_bytes(b"")
    name = server.new_database()
    outcome = fastdump("restore", "--target-uri", server.uri, "--target-db", name, "-y", folder)
    assert outcome.code == 1
    assert f"{name}.c: created without ofTheFuture, which the server does not know" in outcome.err
    assert options_of(client, name, "c") == {"validator": VALIDATOR}
    if knows("time series"):
        assert "without timeseries.fixedBucketing, which the server does not know" in outcome.err
        assert options_of(client, name, "series")["timeseries"]["timeField"] == "t"
    assert client[name].c.count_documents({}) == 1


@pytest.mark.parametrize("layout", ["komodo", "archive", "copy"])
@pytest.mark.parametrize(
    "kind",
    ["collection", "view", pytest.param("series", marks=pytest.mark.needs("time series"))],
)
def test_another_kind_in_the_way_is_left_alone(
    server: Server, client: Client, fastdump: Run, tmp_path: Path, kind: str, layout: str
) -> None:
    """What should be written, and what is in its way."""
    source, target = server.new_database(), server.new_database()
    for number in range(3):
        client[source].other.insert_one({"_id": number})
    in_the_way: dict[str, Callable[[str], object]] = {
        "collection": lambda name: client[name].c.insert_one({"_id": "mine"}),
        "view": lambda name: client[name].command({"create": "c", "viewOn": "other"}),
        "series": lambda name: client[name].command(
            {"create": "c", "timeseries": {"timeField": "t"}}
        ),
    }
    in_the_way[kind](source)
    if kind == "collection":
        client[source].c.create_index("x")
    others = {"collection": ["view", "series"], "view": ["collection"], "series": ["collection"]}
    for number, other in enumerate(others[kind]):
        if other == "series" and not knows("time series"):
            continue
        name = f"{target}{number}"
        in_the_way[other](name)
        before = state(server.connection, name)["c"]
        outcome = move(fastdump, server.uri, layout, source, name, tmp_path / str(number))
        assert outcome.code == 1, outcome.err
        assert f"{name}.c is a " in outcome.err
        after = state(server.connection, name)
        assert after["c"] == before
        assert after["other"] == state(server.connection, source)["other"]
        outcome = move(fastdump, server.uri, layout, source, name, tmp_path / str(number), "--drop")
        assert outcome.code == 0, outcome.err


def move(
    fastdump: Run, uri: str, layout: str, source: str, target: str, folder: Path, *options: str
) -> Any:
    to = ("--target-uri", uri, "--target-db", target, "-y", *options)
    if layout == "copy":
        return fastdump("copy", "--uri", uri, "--db", source, *to)
    place = folder / "b"
    if layout == "archive":
        folder.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
    where = ("--out", place) if layout == "archive" else ("-f", place)
    made = fastdump("backup", "--uri", uri, "--db", source, "--layout", layout, *where)
    assert made.code == 0, made.err
    return fastdump("restore", *to, *([place] if layout == "archive" else ["-f", place]))


def test_what_cannot_be_created_is_not_filled(
    server: Server, client: Client, proxy: WireProxy, fastdump: Run, tmp_path: Path
) -> None:
    folder = dumped(tmp_path / "d", {"validator": VALIDATOR})
    dumped(folder, {}, "other")

    def create(command: Document, forward: Forward) -> Document:
        if command["create"] == "c":
            return {"ok": 0.0, "code": 13, "errmsg": "not allowed to make this one"}
        return forward(command)

    proxy.around("create", create)
    name = server.new_database()
    outcome = fastdump("restore", "--target-uri", proxy.uri, "--target-db", name, "-y", folder)
    assert outcome.code == 1
    assert f"{name}.c: cannot be created: not allowed to make this one" in outcome.err
    assert client[name].list_collection_names() == ["other"]
    assert client[name].other.count_documents({}) == 1


def test_a_server_that_takes_no_options_is_found_out(
    server: Server, client: Client, proxy: WireProxy, fastdump: Run, tmp_path: Path
) -> None:
    """As DocumentDB, which says yes and makes a plain collection of everything."""
    source, target = server.new_database(), server.new_database()
    database = open_database(client, source)
    database.command({"create": "capped", "capped": True, "size": 5000})
    database.command({"create": "checked", "validator": VALIDATOR})
    if knows("time series"):
        database.command({"create": "series", "timeseries": {"timeField": "t"}})
    database.command({"create": "view", "viewOn": "checked", "pipeline": []})
    database.capped.insert_many([{"_id": 2}, {"_id": 1}])
    database.checked.insert_one({"_id": 1, "a": 1})
    made = fastdump("backup", "--uri", server.uri, "--db", source, "-f", tmp_path / "b")
    assert made.code == 0, made.err
    proxy.around(
        "create", lambda command, forward: forward({k: command[k] for k in ("create", "$db")})
    )
    outcome = fastdump(
        "restore", "--target-uri", proxy.uri, "--target-db", target, "-y", "-f", tmp_path / "b"
    )
    assert outcome.code == 1
    series = f"{target}.series: should be a timeseries, but is a collection on the server"
    assert (series in outcome.err) is knows("time series")
    for said in (
        f"{target}.capped: the server did not apply capped, size",
        f"{target}.checked: the server did not apply validator",
        f"{target}.view: should be a view, but is a collection on the server",
    ):
        assert said in outcome.err
    assert client[target].capped.count_documents({}) == 2
    assert client[target].checked.count_documents({}) == 1


def test_what_newer_servers_list_of_an_old_index_is_not_sent(
    server: Server, client: Client, fastdump: Run, tmp_path: Path
) -> None:
    """No server takes a collation for an index of version 1, if only the default one."""
    folder = dumped(tmp_path / "d", {})
    index = {"v": 1, "key": {"a": 1}, "name": "a_1", "collation": {"locale": "simple"}}
    (folder / "c.metadata.json").write_text(json.dumps({"options": {}, "indexes": [index]}))
    name = server.new_database()
    outcome = fastdump(
        "restore", "--target-uri", server.uri, "--target-db", name, "-y", "--keep-index-version",
        folder,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert client[name].c.index_information()["a_1"]["v"] == 1


def test_an_index_that_became_another_one_is_said(
    server: Server, client: Client, proxy: WireProxy, fastdump: Run, tmp_path: Path
) -> None:
    source, target = server.new_database(), server.new_database()
    client[source].c.insert_one({"_id": 1, "a": 1})
    client[source].c.create_index("a", name="expires", expireAfterSeconds=60, sparse=True)
    client[source].c.create_index("b", name="as it is", unique=True)
    made = fastdump("backup", "--uri", server.uri, "--db", source, "-f", tmp_path / "b")
    assert made.code == 0, made.err

    def forgetful(command: Document, forward: Forward) -> Document:
        indexes = [without(dict(one), "expireAfterSeconds") for one in command["indexes"]]
        return forward({**command, "indexes": indexes})

    proxy.around("createIndexes", forgetful)
    outcome = fastdump(
        "restore", "--target-uri", proxy.uri, "--target-db", target, "-y", "-f", tmp_path / "b"
    )
    assert outcome.code == 1
    assert "index expires: the server did not apply expireAfterSeconds" in outcome.err
    assert "as it is:" not in outcome.err
