"""A real S3 server on loopback, and a proxy before it that acts out what goes wrong on the way."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastdump.embedded import free_port

GATEWAY = "github.com/versity/versitygw/cmd/versitygw@latest"
BUCKET = "backups"
ACCESS_KEY, SECRET_KEY = "tester", "a-secret-that-nobody-may-see"
_BUILD_SECONDS, _START_SECONDS = 600, 30


@cache
def find_gateway() -> str | None:
    """Return the path of a versitygw, built into the cache if Go is there; None where it is not."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastdump/servers"
    if found := shutil.which("versitygw") or shutil.which("versitygw", path=str(cached)):
        return found
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return None
    built = subprocess.run(
        [go, "install", GATEWAY],
        env={**os.environ, "GOBIN": str(cached)},
        capture_output=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    return None if built.returncode else shutil.which("versitygw", path=str(cached))


class S3Server:
    """A running server with one bucket, and the environment that leads to it.

    Args:
        address: host and port, of the server or of a proxy before it.
        folder: where it keeps objects, each as a file.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://{self.address}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    @property
    def options(self) -> dict[str, str]:
        """The same as options of a storage."""
        return {name.lower(): value for name, value in self.environment.items()}


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server, or skip the test where there can be none."""
    gateway = find_gateway()
    if gateway is None:
        pytest.skip("no S3 server: versitygw is not on PATH, and there is no Go to build it with")
    with tempfile.TemporaryDirectory(prefix="fastdump-s3-") as folder:
        (Path(folder) / BUCKET).mkdir()
        address = f"127.0.0.1:{free_port()}"
        secrets = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        process = subprocess.Popen(
            [gateway, "--quiet", "--port", address, "posix", folder],
            env={**os.environ, **secrets},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(address, process)
            yield S3Server(address, Path(folder) / BUCKET)
        finally:
            process.kill()
            process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.05)
    raise AssertionError("the S3 server does not start")


Fault = Callable[["_Handler"], None]


class FaultyProxy:
    """Passes HTTP requests on to a server, but for those that a test has something done to.

    Args:
        server: where to.
    """

    def __init__(self, server: S3Server) -> None:
        self._upstream = server.address
        self._faults: list[tuple[str, Fault]] = []
        self._lock = threading.Lock()
        self.seen = Counter[str]()
        """How many requests of each method came."""
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._listener.daemon_threads = True
        self._listener.proxy = self  # type: ignore[attr-defined]
        host, port = self._listener.server_address[:2]
        self.server = S3Server(f"{host!s}:{port}", server.folder)

    def fail(self, method: str, fault: Fault, times: int = 1) -> None:
        """Have the next requests of a method go wrong."""
        with self._lock:
            self._faults += [(method, fault)] * times

    def take(self, method: str) -> Fault:
        """Return what becomes of a request."""
        with self._lock:
            self.seen[method] += 1
            for place, (wanted, fault) in enumerate(self._faults):
                if wanted == method:
                    del self._faults[place]
                    return fault
        return pass_on

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._listener.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_any(self) -> None:
        proxy: FaultyProxy = self.server.proxy  # type: ignore[attr-defined]
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with suppress(BrokenPipeError, ConnectionResetError):
            proxy.take(self.command)(self)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_any  # noqa: N815

    def ask(self) -> tuple[http.client.HTTPResponse, bytes]:
        """Have the server do what was asked."""
        proxy: FaultyProxy = self.server.proxy  # type: ignore[attr-defined]
        upstream = http.client.HTTPConnection(proxy._upstream, timeout=30)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(self.body)
        reply = upstream.getresponse()
        return reply, reply.read()

    def answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _value in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def pass_on(request: _Handler) -> None:
    """Let a request be answered by the server."""
    reply, body = request.ask()
    request.answer(reply.status, body, reply.getheaders())


def slow_down(request: _Handler) -> None:
    """Refuse a request as a busy S3 does."""
    body = (
        b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    )
    request.answer(503, body, [("Content-Type", "application/xml")])


def refuse(request: _Handler) -> None:
    """Refuse a request for want of rights."""
    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
    request.answer(403, body, [("Content-Type", "application/xml")])


def cut(request: _Handler) -> None:
    """Cut the connection before anything was done."""
    request.close_connection = True
    request.connection.shutdown(socket.SHUT_RDWR)


def lose(request: _Handler) -> None:
    """Have the server do the work, and cut the connection before its reply."""
    request.ask()
    cut(request)


def shorten(request: _Handler) -> None:
    """Cut the connection in the middle of the reply."""
    reply, body = request.ask()
    request.send_response_only(reply.status)
    for name, value in reply.getheaders():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body[: len(body) // 2])
    request.wfile.flush()
    cut(request)
