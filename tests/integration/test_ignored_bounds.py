"""Servers that ignore `min` and `max` without a word, as FerretDB does: each document once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastdump
from benchmarks.shapes import insert, mixed_ids
from fastdump.demo.compare import differences, state
from fastdump.engine import planner
from fastdump.model import Bounds
from fastdump.mongo import bounds
from fastdump.mongo.bounds import BoundFinder
from tests.conftest import Server
from tests.integration.test_fetch import PIECES, check, collection, fill
from tests.proxy import Document, Forward, WireProxy, refusal, without

Commands = list[Document]


@pytest.fixture
def sent() -> Commands:
    """Every `find` that went through the proxy."""
    return []


@pytest.fixture
def proxy(server: Server, sent: Commands) -> Iterator[WireProxy]:
    def find(command: Document, forward: Forward) -> Document:
        sent.append(command)
        if "showRecordId" in command or "$_requestResumeToken" in command:
            return refusal(115, "not supported")
        return forward(without(command, "min", "max"))

    with WireProxy(server.uri) as proxy:
        proxy.around("find", find)
        yield proxy


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "CHUNK_BYTES", 200_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 50_000)
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "FILTERED_BYTES", 500_000)


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_a_collection_is_cut_by_filters(server: Server, proxy: WireProxy, kind: str) -> None:
    ids = list(range(4000)) if kind == "numbers" else mixed_ids(random.Random(5), 4000)
    database = fill(server, ids)
    behind = Server(proxy.uri)
    with behind.client() as client:
        finder = BoundFinder(client, records=True)
        found = finder.find(collection(database, 4000), PIECES)
        assert found.by_filter
        assert 0 < len(found.ids) < 4, "every document is looked at for each range"
        asked = proxy.seen["find"]
        assert finder.find(collection(database, 4000), PIECES).by_filter
        assert proxy.seen["find"] == asked, "the server was asked more than once"
    check(behind, database, planner.cut(collection(database, 4000), found))


def test_a_collection_without_a_large_range_is_not_cut(server: Server, proxy: WireProxy) -> None:
    database = fill(server, list(range(4000)))
    with Server(proxy.uri).client() as client:
        found = BoundFinder(client, records=True).find(collection(database, 4000), PIECES)
    assert found == Bounds()


@pytest.mark.usefixtures("small_chunks")
def test_what_is_read_in_one_go_is_read_without_a_hint(
    server: Server, proxy: WireProxy, sent: Commands, tmp_path: Path
) -> None:
    """With a hint, FerretDB 2 stores the whole result before it sends any of it."""
    database = server.new_database()
    for name, size in (("large", 4000), ("small", 10)):
        documents = ({"_id": n, "p": "x" * 500} for n in range(size))
        insert(server.connection, database, name, documents)
    report = fastdump.backup(proxy.uri, db=database, folder=tmp_path)
    assert report.documents == 4010
    reading = [one for one in sent if "limit" not in one and not one.get("singleBatch")]
    assert sorted(one["find"] for one in reading) == ["large", "small"]
    assert not any("hint" in one or "filter" in one for one in reading)


def test_documents_are_looked_up_without_a_hint(
    server: Server, proxy: WireProxy, sent: Commands, tmp_path: Path
) -> None:
    """With a hint, FerretDB 2 compares each document with each of the `_id`s that are asked for."""
    database = fill(server, list(range(500)))
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    again = fastdump.restore(proxy.uri, target_db=database, folder=tmp_path)
    assert again.unchanged == 500
    (lookup,) = (one for one in sent if "$in" in dict(one.get("filter", {})).get("_id", {}))
    assert "hint" not in lookup
    query = {"find": "c", "filter": lookup["filter"]}
    with server.client() as client:
        plan = client[database].command("explain", query, verbosity="queryPlanner")["queryPlanner"]
    assert "COLLSCAN" not in str(plan["winningPlan"])


@pytest.mark.usefixtures("small_chunks", "small_ranges")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_backup_and_a_copy_are_exact(
    server: Server, proxy: WireProxy, tmp_path: Path, workers: int
) -> None:
    database, restored, copied = (server.new_database() for _ in range(3))
    documents = ({"_id": one, "p": "x" * 500} for one in mixed_ids(random.Random(7), 4000))
    insert(server.connection, database, "c", documents)
    fastdump.backup(proxy.uri, db=database, folder=tmp_path, workers=workers)
    fastdump.restore(server.uri, folder=tmp_path, target_db=restored)
    fastdump.copy(proxy.uri, server.uri, db=database, target_db=copied, workers=workers)
    before = state(server.connection, database)
    for target in (restored, copied):
        assert differences(before, state(server.connection, target)) == []
