"""A replica set of which too few members are left to confirm what is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import fastdump as api
from fastdump import LoadOptions
from fastdump.errors import ServerError
from fastdump.mongo import confirming
from fastdump.mongo.client import Document
from tests.conftest import Mortal, Outcome, Run, Server, replica_set_of
from tests.proxy import Forward, WireProxy

SAID = "not enough members of the replica set confirmed a write within"


@pytest.fixture
def backed_up(server: Server, tmp_path: Path) -> Path:
    database = server.new_database()
    with server.client() as client:
        client[database]["c"].insert_many({"_id": n} for n in range(10))
        client[database]["c"].create_index("x")
        client[database].create_collection("empty")
        client[database]["empty"].create_index("x")
    api.backup(server.uri, db=database, folder=tmp_path / "b")
    return tmp_path / "b"


@pytest.fixture(scope="module")
def members() -> Iterator[list[Mortal]]:
    with replica_set_of(3, "psa", arbiters=1, steady=True) as found:
        yield found


@pytest.fixture
def halved(members: list[Mortal]) -> Iterator[Mortal]:
    """The primary, whose only secondary is down."""
    members[1].die()
    yield members[0]
    members[1].rise()


def restored(fastdump: Run, mongod: Mortal, folder: Path, *options: object) -> Outcome:
    target = ("--target-uri", mongod.uri, "--target-db", "t", "-y", "-f", folder)
    return fastdump("restore", *target, "--retry-for", 2, *options)


def test_a_majority_that_cannot_come(fastdump: Run, halved: Mortal, backed_up: Path) -> None:
    for options in ((), ("--drop",)):
        done = restored(fastdump, halved, backed_up, *options)
        assert done.code == 3
        assert f"{SAID} 2 s" in done.err
        assert "--write-concern 1" in done.err
    done = restored(fastdump, halved, backed_up, "--write-concern", 1)
    assert done.code == 0, done.err
    with halved.client() as client:
        assert client["t"]["c"].count_documents({}) == 10
        for name in ("c", "empty"):
            assert set(client["t"][name].index_information()) == {"_id_", "x_1"}
    assert restored(fastdump, halved, backed_up, "--drop", "--write-concern", 1).code == 0


def test_the_majority_is_lost_before_indexes_are_built(
    members: list[Mortal], backed_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The building waits for the secondary; nothing of it stays, so that the next restore can."""
    monkeypatch.setattr(confirming, "_LOOK_SECONDS", 0.5)
    primary, secondary, _arbiter = members
    with WireProxy(primary.uri) as proxy:
        killed = list[bool]()

        def build(command: Document, forward: Forward) -> Document:
            if not killed:
                killed.append(True)
                secondary.die()
            return forward(command)

        proxy.around("createIndexes", build)
        uri = f"{proxy.uri}&w=majority&wtimeoutMS=2000"
        try:
            with pytest.raises(ServerError, match=f"{SAID} 2 s"):
                api.restore(uri, target_db="later", folder=backed_up)
            assert killed
            with primary.client() as client:
                for name in ("c", "empty"):
                    assert set(client["later"][name].index_information()) == {"_id_"}
            once = LoadOptions(write_concern="1")
            assert api.restore(
                primary.uri, target_db="later", folder=backed_up, options=once
            ).complete
        finally:
            secondary.rise()
