"""`--log-format`: a line for each event on standard error, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import Run, Server

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) \S.*")


@pytest.fixture
def database(server: Server) -> str:
    name = server.new_database()
    with server.client() as client:
        client[name]["c"].insert_many({"_id": n} for n in range(300))
    return name


def backup(server: Server, database: str, folder: Path) -> tuple[object, ...]:
    return ("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y")


def test_json(fastdump: Run, server: Server, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    arguments = (*backup(server, database, folder), "--max-backups", "1", "--log-format", "json")
    assert fastdump(*arguments).code == 0
    done = fastdump(*arguments)
    assert (done.code, done.out) == (0, "")
    events = [json.loads(line) for line in done.err.splitlines()]
    assert events[0]["message"] == "backup begins"
    assert {"info", "warning"} == {one["level"] for one in events}, "a standalone has no snapshot"
    (end,) = (one for one in events if "exit_code" in one)
    assert (end["documents"], end["exit_code"], end["command"]) == (300, 0, "backup")
    assert any(one["message"].startswith("removed old backup") for one in events)
    assert all(LINE.match(f"{one['time']} INFO x") for one in events)
    (kept,) = [one.name for one in folder.iterdir() if one.is_dir()]
    assert kept == end["backup"]
    lost = fastdump(*arguments[:2], "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50",
                    *arguments[3:], "--retry-for", "0")  # fmt: skip
    assert lost.code == 3
    last = json.loads(lost.err.splitlines()[-1])
    assert (last["level"], "127.0.0.1:1" in last["message"]) == ("error", True)


@pytest.mark.parametrize("command", ["verify", "restore", "prune", "drill", "convert", "copy"])
def test_text(fastdump: Run, server: Server, database: str, tmp_path: Path, command: str) -> None:
    folder = tmp_path / "backups"
    assert fastdump(*backup(server, database, folder)).code == 0
    target = ("--target-uri", server.uri, "--target-db", server.new_database())
    more: dict[str, tuple[object, ...]] = {
        "restore": (*target, "-y"),
        "drill": (*target, "-y"),
        "prune": ("-y",),
        "convert": ("--out", tmp_path / "a", "--layout", "archive"),
        "copy": ("--uri", server.uri, "--db", database, *target, "-y"),
    }
    place = () if command == "copy" else ("-f", folder)
    arguments = (command, *place, *more.get(command, ()))
    done = fastdump(*arguments, FASTDUMP_LOG_FORMAT="text")
    assert (done.code, done.out) == (0, ""), done.err
    for line in done.err.splitlines():
        assert LINE.fullmatch(line)


def test_an_archive_still_goes_to_standard_output(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    arguments = ("backup", "--uri", server.uri, "--db", database, "--layout", "archive", "-o", "-",
                 "--no-gzip", "--log-format", "json")  # fmt: skip
    done = fastdump(*arguments)
    assert done.code == 0
    assert len(done.out) > 300 * 14
    assert all(json.loads(line)["level"] for line in done.err.splitlines())


def test_answers_are_still_printed(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    assert fastdump(*backup(server, database, tmp_path / "b")).code == 0
    for command in ("list", "status"):
        assert "2" in fastdump(command, "-f", tmp_path / "b", "--log-format", "json").out
    quiet = fastdump(*backup(server, database, tmp_path / "b"), "-q", "--log-format", "json")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    wrong = fastdump("list", "--log-format", "xml")
    assert (wrong.code, "text, json" in wrong.err) == (2, True)
