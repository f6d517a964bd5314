"""The commands as a user calls them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from tests.conftest import COMMAND_SECONDS, Run, Server, command, environment


@pytest.fixture
def database(server: Server) -> str:
    name = server.new_database()
    insert(server.connection, name, "Server", ({"_id": number} for number in range(1000)))
    insert(server.connection, name, "Stats", ({"_id": number} for number in range(2000)))
    return name


def test_backup_list_verify_restore_prune(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    folder, target = tmp_path / "new" / "backups", server.new_database()
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y")
    assert done.code == 0, done.err
    assert "is complete" in done.out
    assert [line.split()[:2] for line in done.out.splitlines()[2:5]] == [
        ["Server", "1,000"],
        ["Stats", "2,000"],
        ["total", "3,000"],
    ]
    (name,) = [path.name for path in folder.iterdir() if path.is_dir()]

    listed = fastdump("ls", "-f", folder)
    assert listed.code == 0
    assert name in listed.out
    assert "latest Stats" in listed.out

    verified = fastdump("verify", "-f", folder)
    assert verified.code == 0, verified.err
    assert "is intact" in verified.out

    for which in ([], ["-r", name], [folder / name]):
        done = fastdump(
            "rst", "--target-uri", server.uri, "--target-db", target, "-f", folder, "-y", *which
        )
        assert done.code == 0, done.err
        assert (
            differences(state(server.connection, database), state(server.connection, target)) == []
        )
    assert "3,000 were there already" in done.out
    assert "the target has about 3,000 documents" in done.err

    assert fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder).code == 0
    planned = fastdump("prune", "-f", folder, "--max-backups", "1", "--dry-run")
    assert f"would remove {name}" in planned.out
    assert (folder / name).is_dir()
    assert fastdump("prune", "-f", folder, "--max-backups", "1").code == 2
    assert (folder / name).is_dir()
    assert fastdump("prune", "-f", folder, "--max-backups", "1", "-y").code == 0
    assert not (folder / name).exists()


def test_everything_from_the_environment(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    target = server.new_database()
    address = server.uri.split("/")[2]
    variables = {
        "KOMODO_DATABASE_ADDRESS": address,
        "KOMODO_DATABASE_DB_NAME": database,
        "KOMODO_CLI_BACKUPS_FOLDER": str(tmp_path / "b"),
        "KOMODO_CLI_DATABASE_TARGET_URI": server.uri,
        "KOMODO_CLI_DATABASE_TARGET_DB_NAME": target,
    }
    assert fastdump("bkp", "-y", **variables).code == 0
    assert fastdump("rst", "-y", **variables).code == 0
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def test_everything_from_a_file(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    target = server.new_database()
    settings = f"""
backups_folder = "{tmp_path / "b"}"
[database]
uri = "{server.uri}"
db_name = "{database}"
[[profile]]
name = "back"
database_target.uri = "{server.uri}"
database_target.db_name = "{target}"
"""
    (tmp_path / "komodo.cli.toml").write_text(settings)
    assert fastdump("backup", "-y").code == 0
    assert fastdump("restore", "-y").code == 2
    assert fastdump("-p", "back", "restore", "-y").code == 0
    assert fastdump("restore", "-y", "-p", "back").code == 0
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    shown = fastdump("config", "-p", "back", "--db", "other", KOMODO_CLI_MAX_BACKUPS="3").out
    rows = dict(line.split("  ", 1) for line in shown.splitlines())
    assert "komodo.cli.toml" in rows["folder"]
    assert "KOMODO_CLI_MAX_BACKUPS" in rows["max backups"]
    assert "--db" in rows["source db name"]
    assert "profile back of" in rows["target uri"]
    elsewhere = fastdump("restore", "-y", "-c", tmp_path / "komodo.cli.toml", "-p", "back")
    assert elsewhere.code == 0
    assert fastdump("backup", "-y", "-c", tmp_path / "absent.toml").code == 2


def test_json_progress_and_quiet(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path / "b")
    done = fastdump(*arguments, "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines()]
    assert events[0]["event"] == "start"
    assert {event["name"] for event in events if event["event"] == "collection"} == {
        "Server",
        "Stats",
    }
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["documents"] == 3000
    quiet = fastdump(*arguments, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_a_dry_run_writes_nothing(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    folder, target = tmp_path / "b", server.new_database()
    source = ("--uri", server.uri, "--db", database)
    planned = fastdump("backup", *source, "-f", folder, "--dry-run")
    assert planned.code == 0
    assert "Stats" in planned.out
    assert not folder.exists()
    fastdump("backup", *source, "-f", folder)
    planned = fastdump(
        "restore", "--target-uri", server.uri, "--target-db", target, "-f", folder, "--dry-run"
    )
    assert planned.code == 0
    with server.client() as client:
        assert client[target].list_collection_names() == []


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130), ("", 130)])
def test_a_restore_asks_on_a_terminal(
    fastdump: Run, server: Server, database: str, tmp_path: Path, answer: str, code: int
) -> None:
    folder, target = tmp_path / "b", server.new_database()
    fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder)
    arguments = ("restore", "--target-uri", server.uri, "--target-db", target, "-f", folder)
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        command(*arguments),
        env=environment(),
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == code, done.stderr
    assert f"into database {target!r}" in done.stderr.replace('"', "'")
    with server.client() as client:
        assert bool(client[target].list_collection_names()) == (code == 0)


def test_a_missing_password_is_asked_for(server: Server, tmp_path: Path) -> None:
    address = server.uri.split("/")[2]
    arguments = ("backup", "--address", address, "--username", "someone", "-f", tmp_path, "-y")
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        command(*arguments),
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    prompt = f"Password of someone on {address}: ".encode()
    assert running.stderr is not None
    assert running.stderr.read(len(prompt)) == prompt
    # Only now: what was typed before the question is thrown away.
    os.write(ours, b"canary-5ecret\n")
    out, err = running.communicate(timeout=COMMAND_SECONDS)
    os.close(ours)
    os.close(theirs)
    assert b"does not accept the user name or the password" in err
    assert running.returncode == 3
    assert b"canary" not in err + out


def test_without_a_terminal_a_missing_password_is_said(fastdump: Run, tmp_path: Path) -> None:
    done = fastdump("backup", "--address", "h", "--username", "someone", "-f", tmp_path)
    assert done.code == 2
    assert "no password for user 'someone'" in done.err
    assert "KOMODO_DATABASE_PASSWORD" in done.err


def test_the_demo(fastdump: Run) -> None:
    done = fastdump("demo", "--size", "30", "--progress", "none")
    assert done.code == 0, done.err
    assert "are equal in both databases" in done.out


def test_help_and_version(fastdump: Run) -> None:
    assert fastdump("--version").out.startswith("fastdump ")
    for name in ("backup", "restore", "copy", "list", "verify", "prune", "config", "demo"):
        assert name in fastdump("--help").out
        shown = fastdump(name, "--help")
        assert shown.code == 0
        assert f"\n  fastdump {name} " in shown.out  # an example


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("restore", "--uri=mongodb://me:secret@h", "dump/"), "--uri: options for the server to"),
        (("backup", "--nonsense"), "--nonsense: 'fastdump backup --help' lists the options"),
        (("list", "mongodb://me:secret@h"), "too many arguments"),
    ],
)
def test_an_option_that_does_not_exist(
    fastdump: Run, arguments: tuple[str, ...], hint: str
) -> None:
    done = fastdump(*arguments)
    assert done.code == 2
    assert hint in done.err
    assert "secret" not in done.err


def test_the_summary_of_a_stream_and_of_a_comparison(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    source = ("--uri", server.uri, "--db", database)
    archive = tmp_path / "all.archive"
    with archive.open("wb") as stream:
        done = subprocess.run(
            [*command(), "backup", *source, "--layout", "archive", "--out", "-"],
            stdout=stream,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            check=True,
            timeout=COMMAND_SECONDS,
        )
    assert "the archive on standard output is complete" in done.stderr
    fastdump("backup", *source, "-f", tmp_path / "b")
    against = ("verify", "-f", tmp_path / "b", "--against", *source)
    assert "have the same numbers of documents" in fastdump(*against).out
    assert "have the same documents" in fastdump(*against, "--deep").out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\n"
        "from fastdump.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "heavy = {'pymongo', 'bson', 'isal', 'tqdm', 'multiprocessing', 'msgspec', 'tabulate'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    command_line = [*command()[:1], "-c", code]
    subprocess.run(command_line, check=True, timeout=COMMAND_SECONDS, capture_output=True)
