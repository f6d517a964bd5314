"""Two databases that are backed up into one folder, where one file has place for one of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from tests.conftest import Run, Server, below, listed
from tests.shims import shim

pytestmark = pytest.mark.timeout(120)

FULL_AT_THE_END = """
    os.open = refusing(
        os.open, errno.ENOSPC, lambda path, *_, **__: str(path).endswith("/manifest.json")
    )
"""


def new_database(server: Server, *names: str) -> str:
    database = server.new_database()
    for name in names:
        insert(server.connection, database, name, ({"_id": n, "of": database} for n in range(50)))
    return database


def restored(fastdump: Run, server: Server, database: str, folder: Path, name: str) -> str:
    """Restore a backup, see that all of it comes back, and return what is said."""
    target = server.new_database()
    done = fastdump(
        "restore", "-f", folder, "-r", name, "--target-uri", server.uri, "--target-db", target, "-y"
    )
    assert done.code == 0, done.err
    assert differences(state(server.connection, database), state(server.connection, target)) == []
    return done.err


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in below(folder)}


@pytest.mark.parametrize("layout", ["komodo", "komodo-json"])
def test_the_second_does_not_replace_what_the_first_needs(
    fastdump: Run, server: Server, tmp_path: Path, layout: str
) -> None:
    first, second = (new_database(server, "Stats", "Server") for _ in range(2))
    arguments = ("backup", "--uri", server.uri, "-f", tmp_path, "--layout", layout, "--db")
    for _ in range(2):
        assert fastdump(*arguments, first).code == 0
    (_older, name) = sorted(path.name for path in tmp_path.glob("2*"))
    before = contents(tmp_path)
    for more in ([], ["--resume"], ["--max-backups", "1"]):
        done = fastdump(*arguments, second, *more)
        assert done.code == 2
        stats = tmp_path / "Stats.gz"
        assert f"{stats} belongs to database {first!r}, whose backups need it" in done.err
        assert "name another folder with -f" in done.err
        assert contents(tmp_path) == before
        assert not [path for path in listed(tmp_path) if path.name.startswith(".")]
    restored(fastdump, server, first, tmp_path, name)


def test_also_when_it_goes_on_where_it_ended(fastdump: Run, server: Server, tmp_path: Path) -> None:
    first, second = (new_database(server, "Stats") for _ in range(2))
    arguments = ("backup", "--uri", server.uri, "-f", tmp_path / "b", "--resume", "--db")
    ended = fastdump(*arguments, second, **shim(tmp_path / "shim", FULL_AT_THE_END))
    assert ended.code == 1
    assert fastdump(*arguments, first).code == 0
    before = contents(tmp_path / "b")
    assert fastdump(*arguments, second).code == 2
    assert contents(tmp_path / "b") == before


def test_two_without_such_a_collection_live_in_one_folder(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    databases = [new_database(server, *names) for names in (("Stats", "Server"), ("Server",))]
    names = {}
    for database in databases:
        done = fastdump("backup", "--uri", server.uri, "-f", tmp_path, "--db", database)
        assert done.code == 0, done.err
        names[database] = done.out.split("backup ")[1].split(" is complete")[0]
    for database, name in names.items():
        said = restored(fastdump, server, database, tmp_path, name)
        is_left_out = f"belongs to database {databases[0]!r}: left out" in said
        assert is_left_out == (database == databases[1])


def test_komodos_own_backup_replaces_the_latest_copy(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    """It writes lines of JSON under the same name, and knows nothing of the manifest beside it."""
    database = new_database(server, "Stats", "Server")
    with server.client() as client:
        client[database]["Stats"].create_index("of")
    backup = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path)
    assert fastdump(*backup).code == 0
    lines = b"".join(b'{"_id":{"$oid":"%024x"},"of":"km"}\n' % n for n in range(70))
    (tmp_path / "Stats.gz").write_bytes(gzip.compress(lines))
    done = fastdump("verify", "-f", tmp_path)
    assert (done.code, "Stats.gz was replaced by another program" in done.err) == (0, True)
    target = server.new_database()
    done = fastdump(
        "restore", "-f", tmp_path, "--target-uri", server.uri, "--target-db", target, "-y"
    )
    assert (done.code, "Stats.gz was replaced by another program" in done.err) == (0, True)
    with server.client() as client:
        assert client[target]["Stats"].count_documents({"of": "km"}) == 70
        assert "of_1" in client[target]["Stats"].index_information()
        assert client[target]["Server"].count_documents({}) == 50
    assert fastdump(*backup).code == 0  # the latest copy is ours again
    (_older, newest) = sorted(path.name for path in tmp_path.glob("2*"))
    restored(fastdump, server, database, tmp_path, newest)


def test_a_cut_latest_copy_is_not_taken_for_komodos(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    database = new_database(server, "Stats")
    assert fastdump("backup", "--uri", server.uri, "--db", database, "-f", tmp_path).code == 0
    stats = tmp_path / "Stats.gz"
    stats.write_bytes(stats.read_bytes()[:-9])
    assert fastdump("verify", "-f", tmp_path).code == 4
    stats.write_bytes(gzip.compress(b"no JSON"))
    assert fastdump("verify", "-f", tmp_path).code == 4
