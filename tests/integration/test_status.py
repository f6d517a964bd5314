"""The journal of runs, `status` that reads it, and `drill`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyrage import x25519

import fastdump as package
from benchmarks.shapes import hurtful
from fastdump.demo.compare import state
from tests.conftest import JOURNAL, Run, Server


@pytest.fixture
def database(server: Server) -> str:
    name = server.new_database()
    with server.client() as client:
        client[name]["people"].insert_many({"_id": n} for n in range(1000))
        client[name]["people"].create_index("name")
        client[name]["Stats"].insert_one({"_id": 1})
    return name


@pytest.fixture(params=["komodo", "repository"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def back_up(fastdump: Run, server: Server, database: str, folder: Path, *more: object) -> None:
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y", *more)
    assert done.code == 0, done.err


def test_all_is_well(
    fastdump: Run, server: Server, database: str, folder: Path, layout: str
) -> None:
    back_up(fastdump, server, database, folder, "--layout", layout)
    with server.client() as client:
        client[database]["people"].insert_many({"_id": n} for n in range(1000, 1100))
    back_up(fastdump, server, database, folder, "--layout", layout)
    assert fastdump("verify", "-f", folder).code == 0
    done = fastdump("status", "-f", folder, "--max-age", "1h", "--max-unverified", "1d",
                    "--min-documents", 1100, "--max-shrink", "1%")  # fmt: skip
    assert done.code == 0, done.err
    for words in (
        "1,100",
        "+10.0%",
        "2 since",
        "together",
        "all is well within the limits",
        "made in",
    ):
        assert words in done.out, done.out
    assert "last drill     never" in done.out
    assert ("the latest Stats, " in done.out) == (layout == "komodo")


def test_what_failed_is_said(
    fastdump: Run, server: Server, database: str, folder: Path, layout: str
) -> None:
    back_up(fastdump, server, database, folder, "--layout", layout)
    lost = ("backup", "--uri", "mongodb://127.0.0.1:1", "--db", database, "-f", folder, "-y",
            "--retry-for", "0", "--layout", layout)  # fmt: skip
    assert fastdump(*lost).code == 3
    done = fastdump("status", "-f", folder)
    assert (done.code, "the last backup failed at" in done.err) == (1, True)
    assert "127.0.0.1:1" in done.err
    quiet = fastdump("status", "-f", folder, "-q")
    assert (quiet.code, quiet.out) == (1, "")
    back_up(fastdump, server, database, folder, "--layout", layout)
    assert fastdump("status", "-f", folder).code == 0
    limited = fastdump("status", "-f", folder, "--max-shrink", "0%")
    assert limited.code == 2


def test_damage_that_verify_found_is_said(
    fastdump: Run, server: Server, database: str, folder: Path
) -> None:
    back_up(fastdump, server, database, folder)
    (file,) = folder.glob("*/people.gz")
    file.write_bytes(file.read_bytes()[:-9])
    assert fastdump("verify", "-f", folder).code == 4
    done = fastdump("status", "-f", folder)
    assert (done.code, "the last verify found damage" in done.err) == (1, True)


def test_an_encrypted_repository(
    fastdump: Run, server: Server, database: str, folder: Path, tmp_path: Path
) -> None:
    identity = x25519.Identity.generate()
    key = tmp_path / "key.txt"
    key.write_text(f"{identity}\n")
    options = ("--layout", "repository", "--encrypt-to", identity.to_public())
    back_up(fastdump, server, database, folder, *options)
    done = fastdump("backup", "--uri", "mongodb://127.0.0.1:1", "--db", "hidden_db", "-f", folder,
                    "-y", "--retry-for", "0")  # fmt: skip
    assert done.code == 3
    for path in folder.rglob("*"):
        assert not path.is_file() or b"hidden_db" not in path.read_bytes()
    done = fastdump("status", "-f", folder)
    assert (done.code, "failed at" in done.err, "exit code 3" in done.err) == (1, True, True)
    assert "together" not in done.out
    done = fastdump("drill", "-f", folder, "--identity", key)
    assert done.code == 0, done.err
    assert "everything was dropped again" in done.out


def test_a_drill(fastdump: Run, server: Server, folder: Path, layout: str) -> None:
    database, target = server.new_database(), server.new_database()
    hurtful(server.connection, database)
    back_up(fastdump, server, database, folder, "--layout", layout)
    before = state(server.connection, database)
    done = fastdump("drill", "-f", folder, "--target-uri", server.uri, "--target-db", target, "-y")
    assert done.code == 0, done.err
    with server.client() as client:
        assert target not in client.list_database_names()
    assert state(server.connection, database) == before
    shown = fastdump("status", "-f", folder, "--max-unverified", "1h")
    assert shown.code == 0, shown.err
    assert "last drill     never" not in shown.out


def test_a_drill_on_a_server_of_its_own(
    fastdump: Run, server: Server, database: str, folder: Path
) -> None:
    back_up(fastdump, server, database, folder)
    done = fastdump("drill", "-f", folder)
    assert done.code == 0, done.err
    assert "1,001 documents" in done.out


def test_a_drill_drops_nothing_that_was_there(
    fastdump: Run, server: Server, database: str, folder: Path
) -> None:
    back_up(fastdump, server, database, folder)
    done = fastdump(
        "drill", "-f", folder, "--target-uri", server.uri, "--target-db", database, "-y"
    )
    assert (done.code, "name a database that does not exist" in done.err) == (2, True)
    with server.client() as client:
        assert client[database]["people"].count_documents({}) == 1000
        # One without documents is not empty either.
        client["empty_" + database].create_collection("other")
    done = fastdump("drill", "-f", folder, "--target-uri", server.uri, "--target-db",
                    f"empty_{database}", "-y")  # fmt: skip
    assert done.code == 2
    with server.client() as client:
        assert client["empty_" + database].list_collection_names() == ["other"]
        client.drop_database("empty_" + database)


def test_a_drill_of_a_damaged_backup_fails(
    fastdump: Run, server: Server, database: str, folder: Path
) -> None:
    back_up(fastdump, server, database, folder)
    (file,) = folder.glob("*/people.gz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    target = server.new_database()
    done = fastdump("drill", "-f", folder, "--target-uri", server.uri, "--target-db", target, "-y")
    assert done.code in (1, 4), done.err
    with server.client() as client:
        assert target not in client.list_database_names()
    shown = fastdump("status", "-f", folder)
    assert (shown.code, "the last drill" in shown.err) == (1, True)


def test_a_journal_that_cannot_be_written_is_only_said(
    fastdump: Run, server: Server, database: str, folder: Path
) -> None:
    back_up(fastdump, server, database, folder)
    (folder / JOURNAL).unlink()
    (folder / JOURNAL).mkdir()
    done = fastdump("verify", "-f", folder)
    assert (done.code, "not in the journal" in done.err) == (0, True), done.err
    assert "not in the journal" not in fastdump("verify", "-f", folder, "-q").err


def test_a_backup_elsewhere_is_in_no_journal(
    fastdump: Run, server: Server, database: str, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y",
                    "--out", tmp_path / "one")  # fmt: skip
    assert done.code == 0, done.err
    assert list(folder.iterdir()) == []
    assert package.list_backups(folder) == []


def test_the_functions(server: Server, database: str, folder: Path) -> None:
    package.backup(server.uri, db=database, folder=folder)
    assert package.status(folder).well
    limits = package.Limits(min_documents=1001)
    (problem,) = package.status(folder, limits=limits).problems
    assert "1,000 documents, fewer than 1,001" in problem
    report = package.drill(server.uri, target_db=server.new_database(), folder=folder)
    assert report.passed
    assert report.restored.documents == 1001
