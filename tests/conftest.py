"""Real servers, and the command line as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastdump.config import described
from fastdump.embedded import Mongod
from fastdump.model import Connection
from fastdump.mongo.client import Client, connect

COMMAND_SECONDS = 60


@dataclass
class Server:
    """A running server, with databases for one test each."""

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
    """How a command ended."""

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
        yield Server(mongod.uri)


@pytest.fixture(scope="module", params=["server", "replica_set"])
def any_server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def fastdump(tmp_path: Path) -> Run:
    """Runs the command line; variables are added to an otherwise clean environment."""

    def run(*arguments: object, **variables: str) -> Outcome:
        done = subprocess.run(
            command(*arguments),
            env=environment(**variables),
            cwd=tmp_path,
            capture_output=True,
            text=True,
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
        if not name.startswith(("KOMODO_", "FASTDUMP_"))
    }
    # No configuration of whoever runs the tests.
    return {**kept, "HOME": "/nonexistent", **variables}
