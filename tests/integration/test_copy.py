"""A copy from one running server to another."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import fastdump
from benchmarks.shapes import hurtful, insert
from fastdump import LoadOptions, ReadOptions
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.engine import planner
from fastdump.errors import UsageError
from tests.conftest import COMMAND_SECONDS, Run, Server, command, environment


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "CHUNK_BYTES", 3_000_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 500_000)
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("workers", [1, 3])
def test_what_hurts_from_one_server_to_another(
    server: Server, replica_set: Server, workers: int
) -> None:
    database, target = server.new_database(), server.new_database()
    hurtful(server.connection, database)
    report = fastdump.copy(
        server.uri, replica_set.uri, db=database, target_db=target, workers=workers
    )
    assert (report.complete, report.workers, report.source) == (True, workers, database)
    expected = state(server.connection, database)
    assert differences(expected, state(replica_set.connection, target)) == []
    again = fastdump.copy(
        server.uri,
        replica_set.uri,
        db=database,
        target_db=target,
        workers=workers,
    )
    assert (again.complete, again.inserted, again.replaced) == (True, 0, 0)
    assert differences(expected, state(replica_set.connection, target)) == []


def test_within_one_server_without_a_process(server: Server) -> None:
    database, target = server.new_database(), server.new_database()
    generate(server.connection, database, 1_000_000)
    report = fastdump.copy(server.uri, server.uri, db=database, target_db=target)
    assert (report.complete, report.workers) == (True, 0)
    assert report.indexes > 0
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_never_onto_itself(server: Server, replica_set: Server) -> None:
    for one in (server, replica_set):
        database = one.new_database()
        insert(one.connection, database, "c", [{"_id": 1}])
        alias = one.uri.replace("127.0.0.1", "localhost")
        with pytest.raises(UsageError, match="onto itself"):
            fastdump.copy(
                one.uri, alias, db=database, target_db=database, options=LoadOptions(drop=True)
            )
        with one.client() as client:
            assert client[database]["c"].count_documents({}) == 1


@contextmanager
def writing(server: Server, database: str) -> Iterator[None]:
    """Inserts, updates and deletes among the documents whose `_id` is text, all the while."""
    stop = threading.Event()
    began = threading.Event()

    def write() -> None:
        with server.client() as client:
            collection, number = client[database]["busy"], 0
            while not stop.is_set():
                number += 1
                collection.insert_one({"_id": f"new {number}", "n": number})
                collection.update_one({"_id": f"new {number // 2}"}, {"$set": {"x": "y" * 300}})
                collection.delete_one({"_id": f"new {number // 3}"})
                began.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert began.wait(30)
        yield
    finally:
        stop.set()
        thread.join(30)


@pytest.mark.usefixtures("small_chunks")
def test_under_concurrent_writes(server: Server, replica_set: Server) -> None:
    """What nobody touches is copied exactly; of the rest, what is copied is a version that was."""
    database, target = server.new_database(), server.new_database()
    still = ({"_id": number, "pad": "p" * 500} for number in range(40_000))
    insert(server.connection, database, "busy", still)
    with writing(server, database):
        report = fastdump.copy(
            server.uri, replica_set.uri, db=database, target_db=target, workers=2
        )
    assert (report.complete, report.workers) == (True, 2)
    with replica_set.client() as client:
        copied = client[target]["busy"]
        assert copied.count_documents({"_id": {"$type": "number"}}) == 40_000
        assert copied.count_documents({"_id": {"$type": "number"}, "pad": "p" * 500}) == 40_000
        for document in copied.find({"_id": {"$type": "string"}}):
            assert document["_id"] == f"new {document['n']}"
            assert document.get("x") in (None, "y" * 300)


def test_the_command(fastdump: Run, server: Server, replica_set: Server) -> None:
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", ({"_id": n} for n in range(100)))
    insert(replica_set.connection, target, "c", [{"_id": "another"}])
    variables = {
        "KOMODO_DATABASE_URI": server.uri,
        "KOMODO_DATABASE_DB_NAME": database,
        "KOMODO_CLI_DATABASE_TARGET_URI": replica_set.uri,
        "KOMODO_CLI_DATABASE_TARGET_DB_NAME": target,
    }
    refused = fastdump("cp", **variables)
    assert refused.code == 2
    assert "add -y" in refused.err
    assert "the target has about 1 documents in these collections; those that are" in refused.err
    planned = fastdump("cp", "--dry-run", **variables)
    assert (planned.code, "1 collections" in planned.out) == (0, True)
    done = fastdump("cp", "-y", "-i", **variables)
    assert done.code == 0, done.err
    assert "100 documents inserted" in done.out
    with replica_set.client() as client:
        assert client[target]["c"].count_documents({}) == 101
    cleared = fastdump("copy", "-y", "--drop", **variables)
    assert "they are dropped" in cleared.err
    with replica_set.client() as client:
        assert client[target]["c"].count_documents({}) == 100


def test_a_document_that_the_target_refuses_fails_the_command(
    fastdump: Run, server: Server
) -> None:
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", [{"_id": 1, "k": 1}, {"_id": 2, "k": 2}])
    with server.client() as client:
        client[target]["c"].insert_one({"_id": 3, "k": 1})
        client[target]["c"].create_index("k", unique=True)
    done = fastdump(
        "copy", "--uri", server.uri, "--db", database, "--target-uri", server.uri,
        "--target-db", target, "-y",
    )  # fmt: skip
    assert done.code == 1
    assert "c: document 1: E11000" in done.err
    assert "the copy is not complete: 1 documents" in done.err


def test_it_asks_on_a_terminal_and_no_is_no(server: Server) -> None:
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", [{"_id": 1}])
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    done = subprocess.run(
        command("copy", "--uri", server.uri, "--db", database, "--target-uri", server.uri,
                "--target-db", target),
        env=environment(),
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 130
    assert f"into database '{target}' of 127.0.0.1" in done.stderr
    with server.client() as client:
        assert client[target].list_collection_names() == []


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("workers", [1, 2])
def test_no_faster_than_allowed(server: Server, workers: int) -> None:
    database, target = server.new_database(), server.new_database()
    insert(server.connection, database, "c", ({"_id": n, "x": "x" * 1000} for n in range(4000)))
    reading = ReadOptions(max_rate=2)
    report = fastdump.copy(
        server.uri, server.uri, db=database, target_db=target, workers=workers, reading=reading
    )
    assert report.complete
    assert report.seconds > 0.9 * report.raw_bytes / 2e6
