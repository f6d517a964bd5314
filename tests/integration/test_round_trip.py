"""Source and restored database are equal: dbHash, options and indexes, not counts."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import bson
import pytest

import fastdump
from benchmarks.shapes import HURTFUL_NAMES, hurtful, insert
from fastdump.demo.compare import CollectionState, differences, state
from fastdump.demo.komodo import INDEXES, generate
from fastdump.engine import planner
from fastdump.engine.sessions.plain import ReadContext, Session
from fastdump.model import LoadOptions, Selection
from fastdump.mongo.client import open_database
from fastdump.progress import Silent
from tests.conftest import Server, knows

KOMODO_BYTES = 90_000_000


@pytest.fixture(scope="module")
def komodo(any_server: Server) -> str:
    database = any_server.new_database()
    generate(any_server.connection, database, KOMODO_BYTES)
    return database


@pytest.fixture(scope="module")
def hurt(any_server: Server) -> str:
    database = any_server.new_database()
    hurtful(any_server.connection, database)
    return database


@pytest.fixture(params=[1, 3], ids=["1 worker", "3 workers"])
def workers(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut and spread even what is small."""
    monkeypatch.setattr(planner, "CHUNK_BYTES", 3_000_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 500_000)
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)


def check_round_trip(server: Server, database: str, folder: Path, workers: int) -> str:
    """Back up and restore twice; returns the name of the restored database."""
    report = fastdump.backup(server.uri, db=database, folder=folder, workers=workers)
    assert report.workers == workers, "no processes were used"
    expected = state(server.connection, database)
    assert report.documents == sum(count_documents(server, database, expected).values())
    assert fastdump.verify(folder).problems == ()
    target = server.new_database()
    first = fastdump.restore(server.uri, target_db=target, folder=folder, workers=workers)
    assert (first.complete, first.documents, first.inserted) == (
        True,
        report.documents,
        report.documents,
    )
    assert differences(expected, state(server.connection, target)) == []
    second = fastdump.restore(server.uri, target_db=target, folder=folder, workers=workers)
    assert (second.complete, second.inserted, second.replaced) == (True, 0, 0)
    assert second.unchanged == report.documents
    assert second.notes == ()
    assert differences(expected, state(server.connection, target)) == []
    return target


def count_documents(
    server: Server, database: str, expected: dict[str, CollectionState]
) -> dict[str, int]:
    with server.client() as client:
        return {
            name: client[database].command(
                {"count": f"system.buckets.{name}" if found.kind == "timeseries" else name}
            )["n"]
            for name, found in expected.items()
            if found.kind != "view"
        }


def test_komodo(any_server: Server, komodo: str, tmp_path: Path, workers: int) -> None:
    target = check_round_trip(any_server, komodo, tmp_path, workers)
    restored = state(any_server.connection, target)
    assert {name: len(found.indexes) for name, found in restored.items() if found.indexes} == {
        name: len(indexes) for name, indexes in INDEXES.items()
    }


def test_what_hurts(any_server: Server, hurt: str, tmp_path: Path) -> None:
    target = check_round_trip(any_server, hurt, tmp_path, 2)
    restored = state(any_server.connection, target)
    assert restored.keys() >= set(HURTFUL_NAMES)
    assert len(restored["indexed"].indexes) == 11
    assert restored["view"].kind == "view"
    if knows("time series"):
        assert restored["series"].kind == "timeseries"


@pytest.mark.usefixtures("small_chunks")
def test_what_hurts_in_many_chunks(any_server: Server, hurt: str, tmp_path: Path) -> None:
    _catalog, chunks = Session(
        ReadContext(any_server.client(), [any_server.connection], Selection(hurt), 2, Silent())
    ).plan()
    cut = {chunk.namespace.collection for chunk in chunks if chunk.number}
    assert cut >= {"mixed", "documents as ids", "uuids", "random ids"}
    assert ("clustered" in cut) is knows("clustered collections")
    assert "capped" not in cut
    check_round_trip(any_server, hurt, tmp_path, 3)


def read_file(path: Path) -> Iterator[dict[str, Any]]:
    """As any other program reads it: the standard library's gzip, PyMongo's bson."""
    with gzip.open(path) as file:
        yield from bson.decode_file_iter(cast("IO[bytes]", file))


def test_any_gzip_and_any_bson_can_read_it(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    hurtful(server.connection, database)
    report = fastdump.backup(server.uri, db=database, folder=tmp_path)
    manifest = json.loads((Path(report.path) / "manifest.json").read_text())
    files = {entry["name"]: entry["file"] for entry in manifest["collections"]}
    with server.client() as client:
        for name, file in files.items():
            if file is None or name == "series":
                continue
            found = [
                bson.encode(document, codec_options=bson.CodecOptions(tz_aware=True))
                for document in read_file(Path(report.path) / file)
            ]
            reply = open_database(client, database).command({"count": name})
            assert len(found) == reply["n"], name


def test_changed_documents_are_repaired_and_additional_ones_stay(
    server: Server, tmp_path: Path
) -> None:
    database, target = server.new_database(), server.new_database()
    ids = ({"_id": number, "n": number} for number in range(5000))
    insert(server.connection, database, "c", ids)
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    with server.client() as client:
        collection = client[target]["c"]
        collection.update_many({"_id": {"$lt": 100}}, {"$set": {"n": -1, "more": True}})
        collection.delete_many({"_id": {"$gte": 4900}})
        collection.insert_many([{"_id": "additional", "n": number} for number in (0,)])
        report = fastdump.restore(server.uri, target_db=target, folder=tmp_path)
        assert (report.inserted, report.replaced, report.unchanged) == (100, 100, 4800)
        assert collection.find_one({"_id": "additional"}) == {"_id": "additional", "n": 0}
        collection.delete_one({"_id": "additional"})
        assert (
            differences(state(server.connection, database), state(server.connection, target)) == []
        )


def test_nearly_equal_documents_are_told_apart(server: Server, tmp_path: Path) -> None:
    """What the server takes for equal, as 1 and 1.0, or two orders of fields, is not the same."""
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", ({"_id": n, "a": 1, "b": 2} for n in range(1000)))
    changed: list[dict[str, object]] = [{"b": 2, "a": 1}, {"a": 1.0, "b": 2}]
    insert(server.connection, target, "c", ({"_id": n, **changed[n % 2]} for n in range(1000)))
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    report = fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    assert (report.inserted, report.replaced, report.unchanged) == (0, 1000, 0)
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_an_id_of_an_equal_number_of_another_type(server: Server, tmp_path: Path) -> None:
    """1 and 1.0 are one `_id` to the server, so the target's document must become the backup's."""
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", ({"_id": n, "a": 1} for n in range(10)))
    insert(server.connection, target, "c", ({"_id": float(n), "a": 1} for n in range(10)))
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    report = fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    assert report.complete
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_drop_clears_first_and_only_what_the_backup_holds(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    with server.client() as client:
        client[database]["c"].insert_one({"_id": 1})
        client[target]["c"].insert_one({"_id": 2})
        client[target]["c"].create_index("x")
        client[target]["other"].insert_one({"_id": 3})
        fastdump.backup(server.uri, db=database, folder=tmp_path)
        fastdump.restore(
            server.uri, target_db=target, folder=tmp_path, options=LoadOptions(drop=True)
        )
        assert [found["_id"] for found in client[target]["c"].find()] == [1]
        assert list(client[target]["c"].index_information()) == ["_id_"]
        assert client[target]["other"].count_documents({}) == 1


def test_without_indexes(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    with server.client() as client:
        client[database]["c"].create_index("x")
        fastdump.backup(server.uri, db=database, folder=tmp_path)
        fastdump.restore(
            server.uri, target_db=target, folder=tmp_path, options=LoadOptions(indexes=False)
        )
        assert list(client[target]["c"].index_information()) == ["_id_"]


def test_a_backup_without_manifest_still_restores_its_documents(
    server: Server, tmp_path: Path
) -> None:
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "a/b", ({"_id": number} for number in range(100)))
    report = fastdump.backup(server.uri, db=database, folder=tmp_path)
    for broken in (b"{", None):
        manifest = Path(report.path) / "manifest.json"
        manifest.unlink() if broken is None else manifest.write_bytes(broken)
        how = LoadOptions(drop=True, salvage=broken is not None)
        restored = fastdump.restore(server.uri, target_db=target, folder=tmp_path, options=how)
        assert (restored.inserted, len(restored.notes)) == (100, 1)
        assert restored.complete is (broken is None)
        with server.client() as client:
            assert open_database(client, target).command({"count": "a/b"})["n"] == 100


def test_a_foreign_gzip_of_bson_is_restored(server: Server, tmp_path: Path) -> None:
    backup = tmp_path / "2020-01-01_00-00-00"
    backup.mkdir()
    content = b"".join(bson.encode({"_id": number, "x": "y" * 100}) for number in range(50_000))
    (backup / "c.gz").write_bytes(gzip.compress(content))
    target = server.new_database()
    for workers in (1, 3):
        report = fastdump.restore(
            server.uri,
            target_db=target,
            folder=tmp_path,
            workers=workers,
            options=LoadOptions(drop=True),
        )
        assert (report.documents, report.inserted) == (50_000, 50_000)
        with server.client() as client:
            assert client[target]["c"].count_documents({"x": "y" * 100}) == 50_000
            assert client[target]["c"].distinct("_id", {"_id": {"$lt": 9}}) == list(range(9))
        again = fastdump.restore(server.uri, target_db=target, folder=tmp_path, workers=workers)
        assert (again.inserted, again.unchanged) == (0, 50_000)


def test_a_foreign_file_that_is_cut_is_said_by_every_way_of_reading(
    server: Server, tmp_path: Path
) -> None:
    backup = tmp_path / "2020-01-01_00-00-00"
    backup.mkdir()
    content = b"".join(bson.encode({"_id": number, "x": "y" * 100}) for number in range(50_000))
    (backup / "c.gz").write_bytes(gzip.compress(content)[:-1000])
    for workers in (1, 3):
        report = fastdump.restore(
            server.uri, target_db=server.new_database(), folder=tmp_path, workers=workers
        )
        assert not report.complete
        assert re.search(r"c\.gz: after \d+ inflated bytes: the file is cut", report.failures[0])
        assert 49_000 < report.inserted < 50_000


def test_the_write_concern_is_that_which_was_named(
    server: Server, replica_set: Server, tmp_path: Path
) -> None:
    database = replica_set.new_database()
    insert(replica_set.connection, database, "c", [{"_id": 1}])
    fastdump.backup(replica_set.uri, db=database, folder=tmp_path)
    for chosen in (None, "majority", "1"):
        fastdump.restore(
            replica_set.uri,
            target_db=replica_set.new_database(),
            folder=tmp_path,
            options=LoadOptions(write_concern=chosen),
        )
    for impossible in ("2", "nowhere"):
        with pytest.raises(fastdump.ServerError):
            fastdump.restore(
                replica_set.uri,
                target_db=replica_set.new_database(),
                folder=tmp_path,
                options=LoadOptions(write_concern=impossible),
            )


def test_what_the_server_refuses_is_counted_and_named(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    with server.client() as client:
        client[database]["c"].insert_many({"_id": n, "u": n // 2} for n in range(40))
        client[database]["c"].create_index("x")
        client[target].create_collection("c", validator={"_id": {"$gte": 4}})
        client[target]["c"].create_index("u", unique=True)
        fastdump.backup(server.uri, db=database, folder=tmp_path)
        report = fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    assert not report.complete
    # 4 fail validation; of the others, every second has a `u` that is already there.
    assert report.rejected == 4 + 18
    assert report.inserted == 18
    assert len(report.rejections) == 10
    assert dict(report.reasons) == {
        "the collection's validator": 4,
        "a unique index on another field": 18,
    }
    assert {rejection.namespace.collection for rejection in report.rejections} == {"c"}
    assert any("validation" in rejection.reason for rejection in report.rejections)
    assert any("duplicate key" in rejection.reason for rejection in report.rejections)
    assert report.notes  # the target's options differ


def test_an_index_that_cannot_be_built_is_named_and_the_others_are_built(
    server: Server, tmp_path: Path
) -> None:
    database, target = server.new_database(), server.new_database()
    with server.client() as client:
        client[database]["c"].insert_one({"_id": 1, "u": 1})
        client[database]["c"].create_index("u", unique=True, name="unique")
        client[database]["c"].create_index("v", name="plain")
        client[target]["c"].insert_one({"_id": 2, "u": 1})
        fastdump.backup(server.uri, db=database, folder=tmp_path)
        report = fastdump.restore(server.uri, target_db=target, folder=tmp_path)
        assert set(client[target]["c"].index_information()) == {"_id_", "plain"}
    assert not report.complete
    assert report.indexes == 1
    (failure,) = report.failures
    assert "index unique" in failure


def test_latest_only_collections_are_kept_once(server: Server, tmp_path: Path) -> None:
    database, target = server.new_database(), server.new_database()
    with server.client() as client:
        source = client[database]
        source["Stats"].insert_one({"_id": 1})
        source["Stats"].create_index("ts")
        source["Server"].insert_one({"_id": 1})
        first = fastdump.backup(server.uri, db=database, folder=tmp_path)
        source["Stats"].insert_one({"_id": 2})
        source["Server"].insert_one({"_id": 2})
        second = fastdump.backup(server.uri, db=database, folder=tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            first.name,
            second.name,
            "Stats.gz",
            "Stats.manifest.json",
        ]
        own = sorted(path.name for path in Path(second.path).iterdir())
        assert own == ["Server.gz", "manifest.json"]
        # The older backup, with the latest Stats.
        fastdump.restore(server.uri, target_db=target, folder=tmp_path, name=first.name)
        assert client[target]["Stats"].count_documents({}) == 2
        assert client[target]["Server"].count_documents({}) == 1
        assert "ts_1" in client[target]["Stats"].index_information()


def test_a_backup_prunes_after_it_succeeded(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    (tmp_path / "my own folder").mkdir()
    (tmp_path / "2020-13-45_99-99-99").mkdir()
    names = [
        fastdump.backup(server.uri, db=database, folder=tmp_path, max_backups=2).name
        for _time in range(4)
    ]
    assert [backup.name for backup in fastdump.list_backups(tmp_path)] == names[2:]
    assert (tmp_path / "my own folder").is_dir()
    assert (tmp_path / "2020-13-45_99-99-99").is_dir()
