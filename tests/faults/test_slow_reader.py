"""An archive into a reader that takes nothing for longer than the server keeps its cursors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import fastdump as package
from benchmarks.shapes import insert
from fastdump.mongo.client import Client
from tests.conftest import COMMAND_SECONDS, Server, command, environment, wait_until
from tests.shims import shim

MB = 1024 * 1024


def stalled(server: Server, database: str, tmp_path: Path) -> tuple[int, bytes, str]:
    """Back up to a reader that waits until the server forgets the sessions that are idle."""
    short = shim(
        tmp_path / "shim", "import fastdump.layouts.archive_output as one; one._STALL_SECONDS = 0.5"
    )
    arguments = ("--uri", server.uri, "--db", database, "--layout", "archive", "--out", "-")
    backup = subprocess.Popen(
        command("backup", *arguments, "--consistency", "none"), env=environment(**short),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    with server.client() as client:
        wait_until(lambda: _is_idle(client, f"{database}.c"), "the cursor did not become idle")
        # As a server does with sessions that were not used for localLogicalSessionTimeoutMinutes.
        client.admin.command({"killAllSessions": []})
    out, err = backup.communicate(timeout=COMMAND_SECONDS)
    return backup.returncode, out, err.decode()


def _is_idle(client: Client, namespace: str) -> bool:
    """Whether a cursor was not used for a second."""
    now = client.admin.command("hello")["localTime"]
    found = client.admin.aggregate([{"$currentOp": {"idleCursors": True}}])
    return any(
        (now - one["cursor"]["lastAccessDate"]).total_seconds() > 1
        for one in found
        if one.get("type") == "idleCursor" and one["ns"] == namespace
    )


def fill(server: Server, size: int) -> str:
    name = server.new_database()
    insert(
        server.connection, name, "c",
        ({"_id": n, "x": os.urandom(100_000)} for n in range(size // 100_000)),
    )  # fmt: skip
    return name


@pytest.mark.timeout(120)
def test_reading_goes_on(server: Server, tmp_path: Path) -> None:
    """Where a chunk can be entered."""
    name = fill(server, 20 * MB)
    code, out, err = stalled(server, name, tmp_path)
    assert code == 0, err
    (tmp_path / "archive").write_bytes(out)
    assert package.verify(tmp_path, name=tmp_path / "archive").intact


@pytest.mark.timeout(120)
def test_the_reader_is_named(server: Server, tmp_path: Path) -> None:
    """Where it cannot, and what was written cannot be taken back."""
    name = fill(server, 5 * MB)
    code, _out, err = stalled(server, name, tmp_path)
    assert code == 3
    assert "can only be read from its beginning" in err
    assert "standard output accepted no data for" in err
    assert "write to a file first" in err
    assert "resource_tracker" not in err
