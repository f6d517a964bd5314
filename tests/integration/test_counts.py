"""No document is counted twice or left out in silence, whatever the server or a proxy does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump import IncompleteError, ReadOptions
from fastdump.engine import planner
from fastdump.model import LAYOUTS
from tests.conftest import Server
from tests.proxy import Document, Forward, WireProxy, refusal, without

DOCUMENTS = 4000
NONE = ReadOptions(consistency="none")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "CHUNK_BYTES", 500_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 100_000)


@pytest.fixture
def proxy(any_server: Server) -> Iterator[WireProxy]:
    with WireProxy(any_server.uri) as proxy:
        yield proxy


def fill(server: Server) -> str:
    name = server.new_database()
    documents = ({"_id": n, "x": "x" * 1000} for n in range(DOCUMENTS))
    insert(server.connection, name, "c", documents)
    insert(server.connection, name, "small", [{"_id": 1}])
    return name


@pytest.fixture
def database(any_server: Server) -> str:
    return fill(any_server)


def fool(proxy: WireProxy, *ignored: str) -> None:
    """Have the server ignore bounds, but for the one question that looks for such servers."""

    def find(command: Document, forward: Forward) -> Document:
        if "showRecordId" in command or "$_requestResumeToken" in command:
            return refusal(115, "not supported")
        return forward(command if "filter" in command else without(command, *ignored))

    proxy.around("find", find)


def lose_documents(proxy: WireProxy, meanwhile: Callable[[], None] = lambda: None) -> list[int]:
    """Have a reply lose half of its documents, when something else has happened; returns how many.

    A reply that loses all is noticed by the reader of records, who reads it again.
    """
    lost: list[int] = []

    def answer(command: Document, forward: Forward) -> Document:
        reply = forward(command)
        cursor = dict(reply.get("cursor", {}))
        batch = cursor.get("firstBatch", ())
        if lost or len(batch) < 100:
            return reply
        kept = batch[: len(batch) // 2]
        lost.append(len(batch) - len(kept))
        meanwhile()
        return {**reply, "cursor": {**cursor, "firstBatch": kept}}

    proxy.around("find", answer)
    return lost


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ignored", [("min", "max"), ("max",), ("min",)])
def test_documents_that_are_doubled(
    proxy: WireProxy, database: str, tmp_path: Path, ignored: tuple[str, ...], layout: str
) -> None:
    fool(proxy, *ignored)
    with pytest.raises(IncompleteError, match=rf"{database}\.c: .* there are {DOCUMENTS:,}\."):
        fastdump.backup(
            proxy.uri,
            db=database,
            folder=tmp_path,
            writing=fastdump.WriteOptions(
                layout=layout, out=tmp_path / "a" if layout == "archive" else None
            ),
        )
    assert fastdump.list_backups(tmp_path) == []
    assert not (tmp_path / "a").exists()


def test_they_are_noticed_while_others_write(
    proxy: WireProxy, any_server: Server, database: str, tmp_path: Path
) -> None:
    """Two parts that begin with the same document cannot be right, whatever was written."""
    fool(proxy, "min")
    with any_server.client() as client:

        def find(command: Document, forward: Forward) -> Document:
            client[database]["c"].insert_one({})
            return forward(command)

        proxy.around("find", find)
        with pytest.raises(IncompleteError, match=rf"{database}\.c: .* documents were read"):
            fastdump.backup(proxy.uri, db=database, folder=tmp_path, reading=NONE)
    assert fastdump.list_backups(tmp_path) == []


def test_lost_documents(
    any_server: Server, proxy: WireProxy, database: str, tmp_path: Path
) -> None:
    lost = lose_documents(proxy)
    with pytest.raises(IncompleteError) as raised:
        fastdump.backup(proxy.uri, db=database, folder=tmp_path, resume=True)
    read = f"{DOCUMENTS - lost[0]:,} documents were read, and there are {DOCUMENTS:,}"
    assert f"{database}.c: {read}" in str(raised.value)
    assert list(tmp_path.glob(".*.partial")) == [], "the next run would go on with it"
    assert fastdump.backup(any_server.uri, db=database, folder=tmp_path, resume=True).name


def test_lost_documents_while_others_write(
    proxy: WireProxy, any_server: Server, database: str, tmp_path: Path
) -> None:
    with any_server.client() as client:

        def meanwhile() -> None:
            client[database]["c"].insert_one({"_id": -1})
            client[database]["c"].delete_one({"_id": -1})

        lost = lose_documents(proxy, meanwhile)
        report = fastdump.backup(proxy.uri, db=database, folder=tmp_path, reading=NONE)
        assert report.documents == DOCUMENTS + 1 - lost[0]
        (note,) = report.notes
        assert note == (
            f"{database}.c: {DOCUMENTS - lost[0]:,} documents were read, but the server counted "
            f"{DOCUMENTS:,} before and {DOCUMENTS:,} after: unless others inserted and deleted as "
            "many meanwhile, some are missing"
        )


@pytest.mark.needs("snapshots")
def test_lost_documents_of_a_moment(replica_set: Server, tmp_path: Path) -> None:
    """Writes explain nothing of what there was at a moment."""
    database = fill(replica_set)
    with replica_set.client() as client, WireProxy(replica_set.uri) as proxy:

        def meanwhile() -> None:
            client[database]["c"].insert_one({})
            client[database]["c"].delete_one({"_id": 0})

        lost = lose_documents(proxy, meanwhile)
        reading = ReadOptions(consistency="snapshot")
        with pytest.raises(IncompleteError) as raised:
            fastdump.backup(proxy.uri, db=database, folder=tmp_path, reading=reading)
    read = f"{DOCUMENTS - lost[0]:,} documents were read, and there are {DOCUMENTS:,}"
    assert read in str(raised.value)


def test_lost_documents_under_a_lock(proxy: WireProxy, any_server: Server, tmp_path: Path) -> None:
    """Also of a collection that is too small to be cut."""
    name = any_server.new_database()
    insert(any_server.connection, name, "c", ({"_id": n} for n in range(200)))
    lose_documents(proxy)
    with pytest.raises(IncompleteError, match="100 documents were read, and there are 200"):
        fastdump.backup(
            proxy.uri, db=name, folder=tmp_path, reading=ReadOptions(consistency="lock")
        )
    lose_documents(proxy)
    report = fastdump.backup(proxy.uri, db=name, folder=tmp_path, reading=NONE)
    assert "some are missing" in report.notes[0]


def test_lost_documents_on_the_way_to_another_server(
    proxy: WireProxy, any_server: Server, database: str, fastdump_target: str
) -> None:
    lost = lose_documents(proxy)
    report = fastdump.copy(proxy.uri, any_server.uri, db=database, target_db=fastdump_target)
    assert not report.complete
    (failure,) = report.failures
    read = f"{DOCUMENTS - lost[0]:,} documents were read, and there are {DOCUMENTS:,}"
    assert failure == f"{database}.c: {read}"


@pytest.fixture
def fastdump_target(any_server: Server) -> str:
    return any_server.new_database()


@pytest.mark.parametrize("error", [-1000, 1000])
@pytest.mark.parametrize("consistency", ["auto", "none", "lock"])
def test_a_count_that_is_wrong_fails_nothing(
    proxy: WireProxy,
    any_server: Server,
    database: str,
    tmp_path: Path,
    consistency: str,
    error: int,
) -> None:
    """As after an unclean shutdown."""

    def answer(command: Document, forward: Forward) -> Document:
        reply = forward(command)
        return {**reply, **{name: reply[name] + error for name in ("n", "count") if name in reply}}

    for name in ("collStats", "count"):
        proxy.around(name, answer)
    with any_server.client() as client:

        def find(command: Document, forward: Forward) -> Document:
            reply = forward(command)
            client[database]["c"].insert_one({})
            return reply

        if consistency != "lock":
            proxy.around("find", find)
        reading = ReadOptions(consistency=consistency)
        report = fastdump.backup(proxy.uri, db=database, folder=tmp_path, reading=reading)
    assert report.documents > DOCUMENTS
    assert [note for note in report.notes if "not of one moment" not in note] == []


@pytest.mark.parametrize("consistency", ["auto", "none"])
def test_writes_meanwhile_are_no_difference(
    proxy: WireProxy, any_server: Server, database: str, tmp_path: Path, consistency: str
) -> None:
    with any_server.client() as client:

        def find(command: Document, forward: Forward) -> Document:
            client[database]["c"].insert_many({} for _number in range(20))
            client[database]["c"].delete_one({})
            return forward(command)

        proxy.around("find", find)
        proxy.refuse("aggregate", 13, "none of them is counted one by one")
        reading = ReadOptions(consistency=consistency)
        report = fastdump.backup(proxy.uri, db=database, folder=tmp_path, reading=reading)
    assert report.documents > DOCUMENTS
    assert [note for note in report.notes if "not of one moment" not in note] == []


def test_a_server_that_counts_nothing_but_at_once(
    proxy: WireProxy, database: str, tmp_path: Path
) -> None:
    """Without aggregation, a difference is said, and fails nothing."""
    lose_documents(proxy)
    proxy.refuse("aggregate", 59, "no such command")
    report = fastdump.backup(proxy.uri, db=database, folder=tmp_path)
    assert any("some are missing" in note for note in report.notes)
