"""Names and paths that the encoding of the output, or of the whole locale, cannot show."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import fastdump as api
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from tests.conftest import Run, Server

pytestmark = pytest.mark.timeout(120)

LAYOUTS = ["komodo", "komodo-json", "mongodump", "archive"]
NAMES = ["été", "Ж猫", "\N{PILE OF POO}"]
NOWHERE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
"""A locale without any encoding, in which Python would take nothing but ASCII."""
ENCODINGS: dict[str, dict[str, str]] = {
    "ascii output": {"PYTHONIOENCODING": "ascii"},
    "latin-1 output": {"PYTHONIOENCODING": "latin-1:strict"},
    "C locale": NOWHERE,
    "C locale, utf-8 output": {**NOWHERE, "PYTHONIOENCODING": "utf-8:strict"},
}


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = f"{server.new_database()}_猫é"
    for collection in (*NAMES, "Stats"):
        insert(server.connection, name, collection, ({"_id": n} for n in range(10)))
    return name


CASES = [
    *((layout, "C locale") for layout in LAYOUTS),
    *((LAYOUTS[0], encoding) for encoding in ENCODINGS if encoding != "C locale"),
]


@pytest.mark.parametrize(("layout", "encoding"), CASES)
def test_every_command(
    fastdump: Run, server: Server, database: str, tmp_path: Path, layout: str, encoding: str
) -> None:
    variables = ENCODINGS[encoding]
    # The last is a byte that is no UTF-8.
    folder = tmp_path / "dossier_é猫" / os.fsdecode(b"\xff")
    out = ["-o", folder / "archivé"] if layout == "archive" else ["-f", folder]
    which: list[Any] = [folder / "archivé"] if layout == "archive" else ["-f", folder]

    def run(*arguments: object, code: int = 0) -> str:
        done = fastdump(*arguments, **variables)
        assert done.code == code, done.err
        assert "Traceback" not in done.err
        return done.out + done.err

    source = ("--uri", server.uri, "--db", database)
    for progress in ("bar", "auto", "json"):
        backup = ("backup", *source, "--layout", layout, *out, "--progress", progress)
        run(*backup, "--dry-run")
        said = run(*backup)
    assert r"\xff" in said or r"\udcff" in said
    if layout != "archive":
        run("list", "-f", folder)
        run("prune", "-f", folder, "--max-backups", "1", "-y")
        run("restore", "-f", folder, "-r", "ü猫", "--target-uri", server.uri, code=4)
    run("verify", *which)
    run("verify", *which, "--against", *source, code=2 if layout == "archive" else 0)
    # Here Python is told nothing of encodings: the names of files are the same everywhere.
    assert api.verify(folder, name=which[-1] if layout == "archive" else None).intact
    target = f"{server.new_database()}_猫"
    into = ("--ns-from", f"{database}.*", "--ns-to", f"{target}.*")
    for _ in range(2):
        run("restore", "--target-uri", server.uri, "-y", *into, *which)
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    with server.client() as client:
        client.drop_database(target)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_commands(
    fastdump: Run, server: Server, database: str, tmp_path: Path, encoding: str
) -> None:
    variables = ENCODINGS[encoding]
    target = f"{server.new_database()}_猫"
    (tmp_path / "é.toml").write_text(
        'backups_folder = "/é猫"\n[database]\nusername = "猫"\n', "utf-8"
    )
    for arguments, code in (
        (["copy", "--uri", server.uri, "--db", database, "--target-uri", server.uri,
          "--target-db", target, "-y"], 0),
        (["config", "-c", tmp_path / "é.toml"], 0),
        (["list", "-c", tmp_path / "é.toml"], 1),
        (["backup", "--uri", server.uri, "--db", "猫é"], 2),
        (["backup", "--höchst", "猫"], 2),
        (["--help"], 0),
        (["backup", "--help"], 0),
        (["restore", "--help"], 0),
    ):  # fmt: skip
        done = fastdump(*arguments, **variables)
        assert done.code == code, (arguments, done.err)
        assert "Traceback" not in done.err
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_variables_of_the_environment(fastdump: Run, server: Server, database: str) -> None:
    done = fastdump(
        "backup", "--dry-run", **NOWHERE,
        KOMODO_DATABASE_URI=server.uri, KOMODO_DATABASE_DB_NAME=database,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert r"\u732b" in done.out or r"\xe9" in done.out


def test_json_is_json(fastdump: Run, server: Server, database: str, tmp_path: Path) -> None:
    done = fastdump(
        "backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "b",
        "--progress", "json", **NOWHERE,
    )  # fmt: skip
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.err.splitlines()]
    assert {one["name"] for one in events if one["event"] == "collection"} == {*NAMES, "Stats"}
