"""Members of replica sets that are not what their address promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from fastdump.embedded import Mongod, free_port
from fastdump.mongo.client import Client
from tests.conftest import Mortal, Outcome, Run, Server, replica_set_of, wait_until
from tests.proxy import Document, Forward, WireProxy, without

SOON = "serverSelectionTimeoutMS=2000"
"""How long the driver looks for a member, where it is in vain."""


def ended(done: Outcome, code: int, *said: str) -> None:
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    for text in said:
        assert text in done.err


@pytest.fixture
def backed_up(server: Server, tmp_path: Path, fastdump: Run) -> Path:
    database = server.new_database()
    with server.client() as client:
        client[database]["c"].insert_one({"_id": 1})
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "b")
    assert done.code == 0, done.err
    return tmp_path / "b"


def test_names_that_only_containers_know(
    fastdump: Run, replica_set: Server, backed_up: Path, tmp_path: Path
) -> None:
    """The server is reached, and sends its own name, which this machine cannot resolve."""
    own = "mongo.invalid:27017"
    with WireProxy(replica_set.uri) as proxy:

        def hello(command: Document, forward: Forward) -> Document:
            return {**forward(command), "hosts": [own], "me": own, "primary": own}

        proxy.around("hello", hello)
        for options in ("", "&replicaSet=fastdump", "&readPreference=nearest"):
            uri = f"mongodb://{proxy.address}/?{SOON}{options}"
            said = (f"are named {own}", "add directConnection=true")
            ended(fastdump("backup", "--uri", uri, "--db", "x", "-f", tmp_path), 3, *said)
            ended(fastdump("restore", "--target-uri", uri, "-y", "-f", backed_up), 3, *said)
        uri = f"{proxy.uri}&{SOON}"
        database = replica_set.new_database()
        done = fastdump(
            "restore", "--target-uri", uri, "--target-db", database, "-y", "-f", backed_up
        )
        ended(done, 0)
        ended(fastdump("backup", "--uri", uri, "--db", database, "-f", tmp_path / "c"), 0)


@pytest.fixture
def started() -> Iterator[Mortal]:
    with Mortal(arguments=["--replSet", "rs0"]) as mongod:
        yield mongod


def forms(mongod: Mongod) -> list[str]:
    return [mongod.uri, f"mongodb://{mongod.address}/?{SOON}"]


def test_a_set_that_was_never_initiated(fastdump: Run, started: Mortal, backed_up: Path) -> None:
    for uri in forms(started):
        for command in (
            ("backup", "--uri", uri, "-f", backed_up),
            ("restore", "--target-uri", uri, "-y", "-f", backed_up),
        ):
            ended(fastdump(*command), 3, "is in none: run rs.initiate() once")


def test_a_member_that_lost_its_name(fastdump: Run, started: Mortal, backed_up: Path) -> None:
    """As a container whose name was its id, when it is made anew."""
    before = started.address
    with started.client() as client:
        members = [{"_id": 0, "host": before}]
        client.admin.command({"replSetInitiate": {"_id": "rs0", "members": members}})
        wait_until(lambda: client.admin.command("hello")["isWritablePrimary"], "a primary")
        # A server that is killed forgets collections that were made after its last checkpoint, also
        # that of its configuration. A checkpoint holds what a majority has.
        majority = WriteConcern("majority", j=True)
        client["db"].get_collection("c", write_concern=majority).insert_one({"_id": 1})
        client.admin.command("fsync")
    started.die()
    started.port = free_port()
    started.rise()
    with started.client() as client:
        wait_until(lambda: status_code(client) == 93, "the server knows that it is removed")
    for uri in forms(started):
        for command in (
            ("backup", "--uri", uri, "-f", backed_up),
            ("restore", "--target-uri", uri, "-y", "-f", backed_up),
        ):
            ended(fastdump(*command), 3, f"{started.address} is REMOVED", f"lists {before}, and")


def status_code(client: Client) -> int | None:
    try:
        client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        return error.code
    return None


@pytest.fixture(scope="module")
def with_arbiter() -> Iterator[list[Mortal]]:
    with replica_set_of(3, "psa", arbiters=1, steady=True) as found:
        yield found


def test_where_nothing_can_be_written(
    fastdump: Run, with_arbiter: list[Mortal], server: Server, backed_up: Path
) -> None:
    primary, secondary, arbiter = with_arbiter
    said = f"the primary is {primary.address}"
    database = server.new_database()
    with server.client() as client:
        client[database]["c"].insert_one({"_id": 1})
    for mongod, role in ((secondary, "is a secondary"), (arbiter, "is an arbiter")):
        target = ("--target-uri", mongod.uri, "-y")
        ended(fastdump("restore", *target, "-f", backed_up), 2, role, said)
        ended(fastdump("copy", "--uri", server.uri, "--db", database, *target), 2, role, said)
    done = fastdump("backup", "--uri", arbiter.uri, "-f", backed_up, "--db", "x")
    ended(done, 2, "is an arbiter of the replica set psa and holds no data", said)
    # The same servers, not directly: the driver finds the primary.
    uri = f"mongodb://{secondary.address}/?replicaSet=psa"
    ended(fastdump("restore", "--target-uri", uri, "-y", "-f", backed_up), 0)


def test_a_set_between_two_primaries_is_waited_for(
    fastdump: Run, replica_set: Server, backed_up: Path
) -> None:
    with WireProxy(replica_set.uri) as proxy:
        asked = []

        def hello(command: Document, forward: Forward) -> Document:
            reply = forward(command)
            if "helloOk" in command or "topologyVersion" in command:
                return reply
            asked.append(1)
            lost = {"isWritablePrimary": False, "secondary": True}
            return without({**reply, **lost}, "primary") if len(asked) == 2 else reply

        proxy.around("hello", hello)
        done = fastdump("restore", "--target-uri", proxy.uri, "-y", "-f", backed_up)
        ended(done, 0)
        assert len(asked) > 2
