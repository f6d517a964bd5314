from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastdump.embedded import Mongod, find_mongod
from fastdump.errors import UsageError
from tests.conftest import Server


def is_running(pid: int) -> bool:
    """Whether the process lives; one that ended but was not waited for has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def test_it_ends_with_its_block_and_takes_its_folder_along() -> None:
    with Mongod(parameters={"ttlMonitorEnabled": "false"}) as mongod:
        pid, folder = mongod.pid, mongod.folder
        assert is_running(pid)
        with Server(mongod.uri).client() as client:
            reply = client.admin.command({"getParameter": 1, "ttlMonitorEnabled": 1})
            assert reply["ttlMonitorEnabled"] is False
    assert not is_running(pid)
    assert not folder.exists()


def test_a_replica_set_takes_writes_at_once() -> None:
    with Mongod(replica_set=True) as mongod, Server(mongod.uri).client() as client:
        client["db"]["c"].insert_one({})
        assert client.admin.command("hello")["setName"]


def test_it_ends_when_its_parent_is_killed() -> None:
    code = (
        "from fastdump.embedded import Mongod\n"
        "import time\n"
        "with Mongod() as mongod:\n"
        "    print(mongod.pid, mongod.folder, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    assert is_running(int(pid))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while (is_running(int(pid)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(pid))
    assert not Path(folder).exists()


def test_a_mongod_that_is_named_but_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDUMP_MONGOD", "/nowhere/mongod")
    with pytest.raises(UsageError, match="FASTDUMP_MONGOD"):
        find_mongod()
