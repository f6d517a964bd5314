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
from fastdump.mongo.bounds import BoundFinder
from tests.conftest import Server
from tests.integration.test_fetch import PIECES, check, collection, fill
from tests.proxy import Document, Forward, WireProxy, refusal, without


@pytest.fixture
def proxy(server: Server) -> Iterator[WireProxy]:
    def find(command: Document, forward: Forward) -> Document:
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


@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_a_collection_is_cut_by_filters(server: Server, proxy: WireProxy, kind: str) -> None:
    ids = list(range(4000)) if kind == "numbers" else mixed_ids(random.Random(5), 4000)
    database = fill(server, ids)
    behind = Server(proxy.uri)
    with behind.client() as client:
        finder = BoundFinder(client, records=True)
        found = finder.find(collection(database, 4000), PIECES)
        assert found.by_filter
        assert found.ids
        asked = proxy.seen["find"]
        assert finder.find(collection(database, 4000), PIECES).by_filter
        assert proxy.seen["find"] == asked, "the server was asked more than once"
    check(behind, database, planner.cut(collection(database, 4000), found))


@pytest.mark.usefixtures("small_chunks")
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
