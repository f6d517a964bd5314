"""Damage to a backup: every single one is found, and what is intact can be restored."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import fastdump
from benchmarks.shapes import insert
from fastdump import LoadOptions
from fastdump.codec import age, frames, gzip
from fastdump.demo.compare import differences, state
from fastdump.errors import BackupDamagedError, FastdumpError
from fastdump.model import NO_KEYS, Keys
from fastdump.mongo import cursor
from fastdump.mongo.client import open_database
from tests.conftest import Run, Server, below

DAMAGES = int(os.environ.get("FASTDUMP_TEST_DAMAGES", "400"))
"""The soak environment sets it to 10,000."""


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    insert(server.connection, name, "a", ({"_id": n, "x": f"{n}" * 20} for n in range(300)))
    insert(server.connection, name, "Stats", ({"_id": n, "y": n * 1.5} for n in range(100)))
    with server.client() as client:
        found = open_database(client, name)
        found.command({"create": "empty", "validator": {"n": {"$exists": True}}})
        found.command({"create": "view", "viewOn": "a", "pipeline": []})
        found.command({"createIndexes": "a", "indexes": [{"key": {"x": 1}, "name": "x"}]})
    return name


IDENTITY = age.new_identity()
KEYS = Keys(identities=[IDENTITY])

LAYOUTS = [
    "komodo", "komodo-json", "mongodump", "none mongodump",
    "repository", "none repository", "zstd repository", "encrypted repository",
]  # fmt: skip


@pytest.fixture(scope="module", params=LAYOUTS)
def original(
    request: pytest.FixtureRequest,
    server: Server,
    database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    *method, layout = request.param.split()
    keys = NO_KEYS
    if method == ["encrypted"]:
        method, keys = [], Keys(recipients=[age.recipient_of(IDENTITY)])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        fastdump.backup(
            server.uri,
            db=database,
            folder=folder,
            writing=fastdump.WriteOptions(
                layout=layout, compression=fastdump.Compression(*method), keys=keys
            ),
        )
    assert fastdump.verify(folder, keys=KEYS).intact
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(below(folder))


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    place = chance.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def lengthen(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randint(1, 40)))


def overwrite(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content))
    length = chance.randint(1, 64)
    content[start : start + length] = chance.randbytes(len(content[start : start + length]))
    path.write_bytes(content)


def swap(path: Path, chance: random.Random) -> None:
    others = [other for other in files(path.parents[0]) if other != path]
    if others:
        other = chance.choice(others)
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)


def remove(path: Path, _chance: random.Random) -> None:
    path.unlink()


def add(path: Path, chance: random.Random) -> None:
    path.with_name(f"{chance.randrange(1000)}.gz").write_bytes(b"?")


KINDS: list[Callable[[Path, random.Random], None]] = [
    flip, flip, flip, flip, cut, lengthen, overwrite, swap, remove, add
]  # fmt: skip


def was_komodos(path: Path, original: Path) -> bool:
    """Without manifest, JSON lines are what Komodo itself writes: nobody can tell."""
    return path.name.endswith("manifest.json") and "komodo-json" in original.name


def is_same_piece(path: Path, original: Path) -> bool:
    """A piece is named by its documents; the last bits of a deflate stream may mean nothing."""
    if "pieces" not in path.parts or not path.exists():
        return False
    contents = (one.read_bytes() for one in (path, original))
    found, was = (b"".join(batch.data for batch in frames.unpack(one)) for one in contents)
    return found == was


@pytest.mark.timeout(3000)
def test_every_damage_is_found(original: Path, tmp_path: Path) -> None:
    chance = random.Random(f"{original}")
    before = {path.relative_to(original): path.read_bytes() for path in files(original)}
    (backup,) = fastdump.list_backups(original, keys=KEYS)
    missed = []
    folder = tmp_path / "damaged"
    for number in range(DAMAGES // len(LAYOUTS)):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        path, kind = chance.choice(files(folder)), chance.choice(KINDS)
        if kind is add and (path.parent == folder or "repository" in original.name):
            continue  # the backups folder itself, and a repository, may hold anything
        if not path.stat().st_size or (kind is remove and was_komodos(path, original)):
            continue
        kind(path, chance)
        after = {path.relative_to(folder): path.read_bytes() for path in files(folder)}
        if after == before:
            continue
        try:
            found = fastdump.verify(folder, name=backup.name, keys=KEYS).problems
        except FastdumpError:
            continue
        if not found and not is_same_piece(path, original / path.relative_to(folder)):
            missed.append((number, kind.__name__, path.name))
    assert missed == []


@pytest.fixture
def many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "BATCH_BYTES", 2000)


@pytest.mark.usefixtures("many_members")
@pytest.mark.parametrize("damage", ["header", "data", "tail", "missing"])
def test_what_is_intact_is_salvaged(
    server: Server, database: str, tmp_path: Path, damage: str
) -> None:
    report = fastdump.backup(server.uri, db=database, folder=tmp_path)
    path = Path(report.path) / "a.gz"
    with path.open("rb") as file:
        members = list(gzip.members(file.fileno(), 0, path.stat().st_size))
    assert len(members) > 5
    hurt = members[2]
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[hurt.offset + 3] ^= 1
    elif damage == "data":
        content[hurt.offset + gzip.HEADER_BYTES + 20] ^= 1
    elif damage == "tail":
        hurt = members[-1]
        del content[hurt.offset + 30 :]
    path.write_bytes(content)
    lost = hurt.documents
    if damage == "missing":
        path.unlink()
        lost = 300
    target = server.new_database()
    if damage != "data":
        with pytest.raises(BackupDamagedError, match=r"a\.gz"):
            fastdump.restore(server.uri, target_db=target, folder=tmp_path)
        with server.client() as client:
            assert target not in client.list_database_names(), "nothing may be written"
    salvaged = fastdump.restore(
        server.uri, target_db=target, folder=tmp_path, options=LoadOptions(salvage=True)
    )
    assert (salvaged.complete, salvaged.inserted) == (False, 400 - lost)
    assert all("a.gz" in failure for failure in salvaged.failures)
    with server.client() as client:
        assert client[target]["a"].count_documents({}) == 300 - lost
        assert set(client[target]["a"].index_information()) == {"_id_", "x"}


def test_the_member_and_its_documents_are_named(
    server: Server, database: str, tmp_path: Path, many_members: None
) -> None:
    report = fastdump.backup(server.uri, db=database, folder=tmp_path)
    path = Path(report.path) / "a.gz"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    problems = [problem for problem in fastdump.verify(tmp_path).problems if problem.path == path]
    assert "documents affected" in problems[0].message
    assert "the member at byte" in problems[0].message


def test_against_a_database(fastdump: Run, server: Server, tmp_path: Path) -> None:
    name = server.new_database()
    insert(server.connection, name, "a", ({"_id": n, "n": n} for n in range(100)))
    insert(server.connection, name, "b", [{"_id": 1}])
    source = ("--uri", server.uri, "--db", name)
    assert fastdump("backup", *source, "-f", tmp_path).code == 0
    verify = ("verify", "-f", tmp_path, "--against", *source)
    for deep in ([], ["--deep"]):
        done = fastdump(*verify, *deep)
        assert done.code == 0, done.err
    with server.client() as client:
        client[name]["a"].update_one({"_id": 5}, {"$set": {"n": -1}})
    assert fastdump(*verify).code == 0, "the counts are equal"
    done = fastdump(*verify, "--deep")
    assert done.code == 1
    assert f"{name}.a: document 5 is different" in done.err
    with server.client() as client:
        client[name]["a"].delete_one({"_id": 7})
        client[name]["a"].insert_many([{"_id": 1000}, {"_id": 1001}])
        client[name]["b"].drop()
    assert fastdump(*verify).code == 1
    done = fastdump(*verify, "--deep")
    row = next(line.split() for line in done.out.splitlines() if line.startswith("a "))
    assert row == ["a", "100", "101", "1", "1", "2"]
    assert f"differ: {name}.a, {name}.b" in done.err
    assert fastdump("verify", "-f", tmp_path, "--deep").code == 2


def test_a_salvaged_backup_without_damage_is_a_restore(
    server: Server, database: str, tmp_path: Path
) -> None:
    fastdump.backup(server.uri, db=database, folder=tmp_path)
    target = server.new_database()
    options = LoadOptions(salvage=True)
    report = fastdump.restore(server.uri, target_db=target, folder=tmp_path, options=options)
    assert report.complete
    assert differences(state(server.connection, database), state(server.connection, target)) == []
