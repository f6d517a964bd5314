"""Fixtures: real servers, and the command line as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.features import SINCE, features
from fastdump.codec.bson import document, elements
from fastdump.config import described
from fastdump.demo.compare import CollectionState
from fastdump.embedded import Mongod, find_mongod
from fastdump.model import Connection
from fastdump.mongo.client import Client, connect
from tests.object_store import S3Server, find_gateway, s3_server

# No time limits for examples, because the machine may do other work as well.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

COMMAND_SECONDS = 60


@cache
def mongod_version() -> tuple[int, ...]:
    """Return the version of the mongod that the tests use."""
    asked = [str(find_mongod()), "--version"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", said)
    assert found, said
    return tuple(map(int, found.groups()))


def knows(feature: str) -> bool:
    """Return True if the mongod that the tests use has a feature of `SINCE`."""
    assert feature in SINCE
    return feature in features(mongod_version())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names a feature that this mongod does not have."""
    for marker in item.iter_markers("needs"):
        for feature in marker.args:
            if not knows(feature):
                since, found = (".".join(map(str, v)) for v in (SINCE[feature], mongod_version()))
                pytest.skip(f"needs {feature}, which MongoDB has since {since}; this is {found}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the S3 server before any test, whose time is limited, waits for it."""
    if any("s3" in getattr(one, "fixturenames", ()) or "[s3" in one.name for one in session.items):
        find_gateway()


def at_once() -> dict[str, str]:
    """Return parameters that make a member of a replica set end at once."""
    return {"shutdownTimeoutMillisForSignaledShutdown": "100"} if mongod_version() >= (5,) else {}


class Mortal(Mongod):
    """Server that can be killed and started again with its data."""

    def die(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # Keep the process object: the watcher removes the folder when its pipe closes.
        self._dead = (*getattr(self, "_dead", ()), self._process)

    def client(self) -> Client:
        return connect(described(self.uri))

    def rise(self) -> None:
        self._start()
        assert self._answers()


@contextmanager
def replica_set_of(
    count: int, name: str, *, arbiters: int = 0, steady: bool = False
) -> Iterator[list[Mortal]]:
    """Run a replica set; the first member is the primary while it runs, the last are arbiters.

    A new primary is elected after a second of silence. On a busy machine that can happen without
    any fault, so in a `steady` set no other member can be elected.
    """
    with ExitStack() as stack:
        arguments = ["--replSet", name]
        found = [
            stack.enter_context(Mortal(arguments=arguments, parameters=at_once()))
            for _number in range(count)
        ]
        members = [
            {"_id": n, "host": one.address, "priority": 2 if n == 0 else int(not steady),
             **({"tags": {"place": f"p{n}"}} if n < count - arbiters else {"arbiterOnly": True})}
            for n, one in enumerate(found)
        ]  # fmt: skip
        settings = {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 300}
        config = {"_id": name, "members": members, "settings": settings}
        with found[0].client() as client:
            client.admin.command({"replSetInitiate": config})
            wait_for_states(
                client, {"PRIMARY": 1, "SECONDARY": count - 1 - arbiters, "ARBITER": arbiters}
            )
            # Another may be elected first, until the first member takes over by its priority.
            wait_until(lambda: client.admin.command("hello")["isWritablePrimary"], "no primary")
        yield found


def wait_for_states(client: Client, wanted: dict[str, int]) -> None:
    deadline = time.monotonic() + COMMAND_SECONDS
    while time.monotonic() < deadline:
        status = client.admin.command("replSetGetStatus")["members"]
        if Counter(one["stateStr"] for one in status) == Counter(wanted):
            return
        time.sleep(0.1)
    raise AssertionError(f"the set is {status}")


def wait_until(happened: Callable[[], object], what: str) -> None:
    """Wait for an event; the limit is long enough for a busy machine."""
    deadline = time.monotonic() + COMMAND_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)


def is_writing(folder: Path) -> bool:
    """Return True if an unfinished backup in a folder has begun to write documents.

    A file alone does not show that its worker has already reached the server.
    """
    parts = [path for path in folder.glob(".*.partial/**/*") if path.name != "journal"]
    with suppress(FileNotFoundError):  # the folder was just renamed or removed
        written = sum(one.stat().st_size for one in parts if one.is_file())
        # An archive begins with the descriptions of all collections.
        return written > 2_000 or any(
            path.stat().st_size > 100_000 for path in folder.glob(".*.partial") if path.is_file()
        )
    return False


@dataclass
class Server:
    """Running server, with a new database for each test."""

    uri: str

    @property
    def connection(self) -> Connection:
        return described(self.uri)

    def client(self) -> Client:
        return connect(self.connection)

    def new_database(self) -> str:
        return f"test_{uuid.uuid4().hex}"


@dataclass
class Outcome:
    """Result of a command: exit code and output."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Mongod() as mongod:
        yield Server(mongod.uri)


@pytest.fixture(scope="session")
def replica_set() -> Iterator[Server]:
    with Mongod(replica_set=True) as mongod:
        found = Server(mongod.uri)
        with found.client() as client:
            # The default since MongoDB 5.0: an oplog is read up to the entries that a majority has.
            client.admin.command(
                {"setDefaultRWConcern": 1, "defaultWriteConcern": {"w": "majority"}}
            )
        yield found


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture(scope="module", params=["server", "replica_set"])
def any_server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def settled(found: dict[str, CollectionState]) -> dict[str, CollectionState]:
    """Return states with sorted fields in options and indexes: versions list them differently."""

    def in_order(data: bytes) -> bytes:
        return document(*sorted(data[one.start : one.end] for one in elements(data)))

    return {
        name: replace(
            one, options=in_order(one.options), indexes=tuple(sorted(map(in_order, one.indexes)))
        )
        for name, one in found.items()
    }


@pytest.fixture
def fastdump(tmp_path: Path) -> Run:
    """Return a function that runs the command line in a clean environment with some variables."""

    def run(*arguments: object, **variables: str) -> Outcome:
        done = subprocess.run(
            command(*arguments),
            env=environment(**variables),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fastdump", *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KOMODO_", "FASTDUMP_", "AWS_"))
    }
    # Keep the configuration of the user who runs the tests out.
    return {**kept, "HOME": "/nonexistent", **variables}


JOURNAL = ".fastdump-runs"


def listed(folder: Path) -> list[Path]:
    """Return the entries of a folder of backups without the journal of runs."""
    return [path for path in folder.iterdir() if path.name != JOURNAL]


def below(folder: Path) -> list[Path]:
    """Return the files below a folder of backups without the journal of runs."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if path.name != JOURNAL]
