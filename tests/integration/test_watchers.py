"""Those who watch runs: metrics for Prometheus, a heartbeat, and messages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Run, Server

DOCUMENTS = 300


class Listener:
    """HTTP server that keeps what it is sent, and answers with one status."""

    def __init__(self) -> None:
        self.status = 200
        self.heard: list[tuple[str, str, str]] = []
        self.headers: list[dict[str, str]] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                listener.heard.append((self.command, self.path, body.decode()))
                listener.headers.append(dict(self.headers))
                self.send_response(listener.status)
                self.end_headers()

            do_PUT = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def paths(self) -> list[str]:
        return [path for _method, path, _body in self.heard]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as listener:
        yield listener


@pytest.fixture
def database(server: Server) -> str:
    name = server.new_database()
    with server.client() as client:
        client[name]["c"].insert_many({"_id": n} for n in range(DOCUMENTS))
    return name


@pytest.fixture
def good(server: Server, database: str, tmp_path: Path) -> tuple[object, ...]:
    return ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "backups", "-y")


@pytest.fixture
def bad(good: tuple[object, ...]) -> tuple[object, ...]:
    return (*good[:2], "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100", *good[3:],
            "--retry-for", "0")  # fmt: skip


def read(path: Path) -> dict[tuple[str, str], float]:
    return {
        (sample.name.removeprefix("fastdump_"), sample.labels["command"]): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_metrics_in_a_file(
    fastdump: Run, good: tuple[object, ...], bad: tuple[object, ...], tmp_path: Path
) -> None:
    path = tmp_path / "fastdump.prom"
    assert fastdump(*good, "--metrics", path).code == 0
    first = read(path)
    assert first["last_run_exit_code", "backup"] == 0
    assert first["last_success_documents", "backup"] == DOCUMENTS
    assert first["last_success_file_bytes", "backup"] > 0
    assert first["last_run_timestamp_seconds", "backup"] > 1.7e9
    assert path.stat().st_mode & 0o777 == 0o644, "another user's node_exporter reads it"
    assert fastdump(*bad, FASTDUMP_METRICS=str(path)).code == 3
    second = read(path)
    assert second["last_run_exit_code", "backup"] == 3
    for name in ("timestamp_seconds", "documents", "file_bytes", "document_bytes"):
        key = f"last_success_{name}", "backup"
        assert second[key] == first[key]
    assert (
        second["last_run_timestamp_seconds", "backup"]
        > first["last_run_timestamp_seconds", "backup"]
    )
    assert fastdump("verify", "-f", tmp_path / "backups", "--metrics", path).code == 0
    third = read(path)
    assert third["last_run_exit_code", "verify"] == 0
    assert {key: third[key] for key in second} == second
    assert [one.name for one in tmp_path.glob("*.prom*")] == [path.name]


@pytest.mark.parametrize("content", [None, b"no metrics {", b"\xff"])
def test_metrics_that_cannot_be_written(
    fastdump: Run, good: tuple[object, ...], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "no" / "file"
    if content is not None:
        path = tmp_path / "file"
        path.write_bytes(content)
    done = fastdump(*good, "--metrics", path)
    assert (done.code, "Traceback" in done.err) == (0, False)
    assert f"note: {path}: the metrics cannot be written" in done.err
    if content is not None:
        assert path.read_bytes() == content


def test_metrics_for_a_pushgateway(
    fastdump: Run, good: tuple[object, ...], bad: tuple[object, ...], listener: Listener
) -> None:
    url = f"http://someone:s%40cret@{listener.address}"
    assert fastdump(*good, "--metrics", url).code == 0
    ((method, path, body),) = listener.heard
    assert method == "POST", "what another run pushed stays"
    assert path.startswith("/metrics/job/fastdump/")
    assert "/command/backup" in path
    assert 'fastdump_last_success_documents{command="backup"' in body
    assert listener.headers[0]["Authorization"].startswith("Basic ")
    assert fastdump(*bad, "--metrics", url).code == 3
    assert "last_success" not in listener.heard[1][2]
    assert "last_run_exit_code" in listener.heard[1][2]
    listener.status = 500
    done = fastdump(*good, "--metrics", url)
    assert (done.code, "Traceback" in done.err) == (0, False)
    assert f"note: http://{listener.address}: the metrics cannot be pushed" in done.err
    assert "cret" not in done.err


def test_a_heartbeat(
    fastdump: Run, good: tuple[object, ...], bad: tuple[object, ...], listener: Listener
) -> None:
    url = f"http://{listener.address}/secret-id"
    assert fastdump(*good, FASTDUMP_HEARTBEAT=url).code == 0
    assert listener.paths == ["/secret-id/start", "/secret-id"]
    assert f"{DOCUMENTS} documents" in listener.heard[1][2]
    assert fastdump(*bad, FASTDUMP_HEARTBEAT=url).code == 3
    assert listener.paths[2:] == ["/secret-id/start", "/secret-id/fail"]
    assert "127.0.0.1:1" in listener.heard[3][2]
    wrong = fastdump(*good, "--latest-only", "a", "--layout", "archive", "--heartbeat", url)
    assert wrong.code == 2
    listener.status = 500
    done = fastdump(*good, FASTDUMP_HEARTBEAT=url)
    assert (done.code, "Traceback" in done.err) == (0, False)
    assert "note: no heartbeat could be sent to 127.0.0.1" in done.err
    assert "secret-id" not in done.err
    gone = fastdump(*good, FASTDUMP_HEARTBEAT="http://127.0.0.1:1/x")
    assert "note: no heartbeat could be sent to 127.0.0.1: [Errno" in gone.err
    quiet = fastdump(*good, "-q", FASTDUMP_HEARTBEAT="no-address")
    assert (quiet.code, quiet.err) == (0, "")


def test_messages(
    fastdump: Run, good: tuple[object, ...], bad: tuple[object, ...], listener: Listener,
    tmp_path: Path,
) -> None:  # fmt: skip
    url = f"json://{listener.address}/secret-id"
    secrets = tmp_path / "addresses"
    secrets.write_text(f"{url}\n")
    assert fastdump(*good, FASTDUMP_NOTIFY_FILE=str(secrets)).code == 0
    assert listener.heard == [], "nobody needs to know"
    assert fastdump(*bad, FASTDUMP_NOTIFY_FILE=str(secrets)).code == 3
    failed = json.loads(listener.heard[0][2])
    assert (failed["type"], "fastdump backup failed" in failed["title"]) == ("failure", True)
    assert "127.0.0.1:1" in failed["message"]
    assert fastdump(*good, "--notify", url, "--notify", url).code == 0
    for _method, _path, body in listener.heard[1:]:
        assert "fastdump backup works again" in json.loads(body)["title"]
    assert len(listener.heard) == 3
    assert fastdump(*good, FASTDUMP_NOTIFY=url).code == 0
    assert len(listener.heard) == 3
    assert fastdump(*good, FASTDUMP_NOTIFY=f"{url} {url}", FASTDUMP_NOTIFY_ON="always").code == 0
    assert len(listener.heard) == 5
    assert "fastdump backup succeeded" in json.loads(listener.heard[3][2])["title"]


def test_messages_that_cannot_be_sent(
    fastdump: Run, bad: tuple[object, ...], listener: Listener
) -> None:
    listener.status = 500
    url = f"jsons://someone:verysecret@{listener.address}/ nonsense://verysecret"
    done = fastdump(*bad, FASTDUMP_NOTIFY=url)
    assert (done.code, "Traceback" in done.err) == (3, False)
    assert "note: a notification could not be sent by json" in done.err
    assert "number 2" in done.err
    assert "verysecret" not in done.err
