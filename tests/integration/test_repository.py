"""Backups in a repository: whole commands, in a folder and in an object store."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import fastdump as package
from benchmarks.shapes import hurtful
from fastdump.codec import frames
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.engine import planner
from fastdump.engine.sessions import plain
from fastdump.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    StorageError,
    UsageError,
)
from fastdump.model import LoadOptions, ReadOptions, WriteOptions
from fastdump.mongo import stable_bounds
from fastdump.mongo.client import open_database
from fastdump.repository import DESCRIPTION, pieces, place
from fastdump.repository.leases import BACKUP, Lease
from fastdump.repository.reading import names_there
from fastdump.storage.local import LocalStorage
from tests.conftest import Run, Server
from tests.object_store import BUCKET, SECRET_KEY, S3Server

REPOSITORY = WriteOptions(layout="repository")
KOMODO_BYTES = 30_000_000


@pytest.fixture(scope="module")
def komodo(server: Server) -> str:
    database = server.new_database()
    generate(server.connection, database, KOMODO_BYTES)
    return database


@pytest.fixture
def database(server: Server) -> str:
    """A database with documents whose bytes differ from each other."""
    name = server.new_database()
    with server.client() as client:
        fill(client[name]["c"], 0, 4000)
        client[name]["c"].create_index("x")
        client[name].create_collection("empty")
    return name


def fill(collection: object, start: int, end: int) -> None:
    made = [{"_id": n, "x": n, "y": os.urandom(400).hex()} for n in range(start, end)]
    collection.insert_many(made)  # type: ignore[attr-defined]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut what is small, in one process, so that all of this is in force."""
    monkeypatch.setattr(planner, "CHUNK_BYTES", 1_000_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 500_000)
    monkeypatch.setattr(stable_bounds, "_CHUNK_BYTES", 1_000_000)
    monkeypatch.setattr(pieces, "_MIN_BYTES", 20_000)
    monkeypatch.setattr(pieces, "MAX_BYTES", 200_000)
    monkeypatch.setattr(pieces, "_SHIFT", 17)


def back_up(server: Server, database: str, folder: Path) -> package.BackupReport:
    return package.backup(server.uri, db=database, folder=folder, writing=REPOSITORY, workers=1)


def piece_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "pieces").rglob("*") if path.is_file())


def test_everything_comes_back(server: Server, tmp_path: Path, small: None) -> None:
    database, target = server.new_database(), server.new_database()
    hurtful(server.connection, database)
    report = back_up(server, database, tmp_path)
    assert package.verify(tmp_path).problems == ()
    first = package.restore(server.uri, target_db=target, folder=tmp_path)
    assert (first.complete, first.inserted) == (True, report.documents)
    expected = state(server.connection, database)
    assert differences(expected, state(server.connection, target)) == []
    again = package.restore(server.uri, target_db=target, folder=tmp_path)
    assert (again.complete, again.unchanged) == (True, report.documents)


def test_by_several_processes(server: Server, komodo: str, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(planner, "CHUNK_BYTES", 3_000_000)
    monkeypatch.setattr(stable_bounds, "_CHUNK_BYTES", 3_000_000)
    target = server.new_database()
    for new in (True, False):
        report = package.backup(
            server.uri, db=komodo, folder=tmp_path, writing=REPOSITORY, workers=3
        )
        assert (report.workers, bool(report.new_bytes)) == (3, new)
    assert package.verify(tmp_path, workers=3).intact
    restored = package.restore(server.uri, target_db=target, folder=tmp_path, workers=3)
    assert restored.complete
    found = state(server.connection, target)
    assert differences(state(server.connection, komodo), found) == []


def test_what_did_not_change_is_neither_compressed_nor_written(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = back_up(server, database, tmp_path)
    assert first.new_bytes == first.file_bytes > 0
    before = {path: path.stat().st_mtime_ns for path in piece_files(tmp_path)}
    monkeypatch.setattr(frames, "pack", None)
    second = back_up(server, database, tmp_path)
    assert (second.new_bytes, second.file_bytes) == (0, first.file_bytes)
    assert {path: path.stat().st_mtime_ns for path in piece_files(tmp_path)} == before
    newest = package.list_backups(tmp_path)[-1]
    assert (newest.name, newest.added_bytes) == (second.name, 0)


@pytest.mark.parametrize("method", ["zstd", "none"])
def test_compression(
    fastdump: Run, server: Server, database: str, tmp_path: Path, method: str
) -> None:
    options = ["--uri", server.uri, "--db", database, "--layout", "repository", "-f", tmp_path]
    done = fastdump("backup", *options, "--compression", method)
    assert done.code == 0, done.err
    is_frame = {path.read_bytes()[:4] == b"\x28\xb5\x2f\xfd" for path in piece_files(tmp_path)}
    assert is_frame == {method == "zstd"}
    assert package.verify(tmp_path).intact
    # What is there already stays as it is, however it is compressed.
    assert back_up(server, database, tmp_path).new_bytes == 0
    target = server.new_database()
    assert package.restore(server.uri, target_db=target, folder=tmp_path).complete
    expected, found = (state(server.connection, one) for one in (database, target))
    assert differences(expected, found) == []


def test_compression_that_a_layout_does_not_have(fastdump: Run, tmp_path: Path) -> None:
    for layout, method in (("komodo", "none"), ("mongodump", "zstd"), ("archive", "zstd")):
        done = fastdump("backup", "--uri", "mongodb://h", "--layout", layout, "--compression",
                        method, "--out", tmp_path / "x")  # fmt: skip
        assert done.code == 2
        assert f"--compression {method} cannot be combined with --layout {layout}" in done.err


@pytest.mark.parametrize("by_record", [True, False])
def test_a_change_costs_little(
    server: Server,
    database: str,
    tmp_path: Path,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    by_record: bool,
) -> None:
    if not by_record:
        monkeypatch.setattr(plain, "has_own_records", lambda _client: False)
    first = back_up(server, database, tmp_path)
    assert first.new_bytes is not None
    with server.client() as client:
        collection = client[database]["c"]
        fill(collection, 4000, 4040)
        collection.delete_many({"_id": {"$lt": 40}})
        collection.update_many({"_id": {"$gte": 2000, "$lt": 2004}}, {"$set": {"x": -1}})
    second = back_up(server, database, tmp_path)
    assert second.new_bytes is not None
    assert 0 < second.new_bytes < 0.2 * first.new_bytes
    target = server.new_database()
    assert package.restore(server.uri, target_db=target, folder=tmp_path).complete
    expected = state(server.connection, database)
    assert differences(expected, state(server.connection, target)) == []
    with server.client() as client:  # it doubles behind the last bound
        fill(client[database]["c"], 4040, 9000)
    grown = back_up(server, database, tmp_path)
    assert grown.new_bytes is not None
    assert grown.new_bytes < 1.4 * first.new_bytes
    assert back_up(server, database, tmp_path).new_bytes == 0
    assert package.verify(tmp_path).intact


def test_each_backup_is_whole(server: Server, database: str, tmp_path: Path) -> None:
    """Any may be removed, in any order; what the others need stays."""
    states = []
    for n in range(3):
        with server.client() as client:
            client[database]["c"].delete_many({"_id": {"$lt": 10 * n}})
            fill(client[database][f"c{n}"], 0, 10)
        back_up(server, database, tmp_path)
        states.append(state(server.connection, database))
    age_pieces(tmp_path)
    first, second, third = package.list_backups(tmp_path)
    repository = place.Repository(LocalStorage(tmp_path))
    repository.remove(second.path)
    assert repository.sweep().file_bytes
    repository.remove(first.path)
    assert repository.sweep().file_bytes
    assert [one.name for one in package.list_backups(tmp_path)] == [third.name]
    assert package.verify(tmp_path).intact
    target = server.new_database()
    assert package.restore(server.uri, target_db=target, folder=tmp_path).complete
    assert differences(states[2], state(server.connection, target)) == []


def age_pieces(folder: Path) -> None:
    """Have pieces be there for longer than those of a killed backup are kept."""
    for path in piece_files(folder):
        before = path.stat().st_mtime - 2 * place.GRACE.total_seconds()
        os.utime(path, (before, before))


def test_pruning(fastdump: Run, server: Server, database: str, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    for n in range(3):
        with server.client() as client:
            fill(client[database]["c"], 4000 + n, 4001 + n)
        done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder,
                        "--layout", "repository", "--max-backups", "2", "-y")  # fmt: skip
        assert done.code == 0, done.err
        age_pieces(folder)
    assert "removed 1 old" in done.out
    assert len(package.list_backups(folder)) == 2
    pruned = fastdump("prune", "-f", folder, "--max-backups", "1", "-y")
    assert pruned.code == 0, pruned.err
    assert "that no backup needs were deleted" in pruned.out
    (backup,) = package.list_backups(folder)
    kept = {piece.name.hex() for one in backup.collections if one.file
            for piece in one.file.pieces}  # fmt: skip
    assert {path.name for path in piece_files(folder)} == kept
    assert fastdump("verify", "-f", folder).code == 0


def test_what_a_killed_backup_put_stays_for_a_day(
    server: Server, database: str, tmp_path: Path
) -> None:
    back_up(server, database, tmp_path)
    orphan = tmp_path / pieces.key_of(bytes(32))
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"x")
    package.prune(tmp_path)
    assert orphan.exists()
    age_pieces(tmp_path)
    assert package.prune(tmp_path).freed_bytes == 1
    assert not orphan.exists()
    assert package.verify(tmp_path).intact


def test_nothing_is_swept_while_a_backup_is_made(
    server: Server, database: str, tmp_path: Path
) -> None:
    back_up(server, database, tmp_path)
    back_up(server, database, tmp_path)
    orphan = tmp_path / pieces.key_of(bytes(32))
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"x")
    age_pieces(tmp_path)
    lease = Lease(LocalStorage(tmp_path), BACKUP)
    try:
        report = package.prune(tmp_path, max_backups=1)
        assert len(report.removed) == 1
        assert re.search(
            r"nothing is swept while process \d+ of .* is at work there", report.notes[0]
        )
        assert orphan.exists()
    finally:
        lease.release()
    package.prune(tmp_path, max_backups=1)
    assert not orphan.exists()


def test_damage_is_found_and_costs_only_itself(
    fastdump: Run, server: Server, database: str, tmp_path: Path, small: None
) -> None:
    back_up(server, database, tmp_path)
    whole = package.verify(tmp_path).documents
    lost, damaged, cut, *_others = piece_files(tmp_path)
    lost.unlink()
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-3])
    report = package.verify(tmp_path)
    found = {Path(str(problem.path)).name for problem in report.problems}
    assert {lost.name, damaged.name, cut.name} <= found
    assert report.documents < whole

    target = server.new_database()
    with pytest.raises(BackupDamagedError, match=f"{lost.name}: the piece is missing .*--salvage"):
        package.restore(server.uri, target_db=target, folder=tmp_path)
    salvaged = package.restore(
        server.uri, target_db=target, folder=tmp_path, options=LoadOptions(salvage=True)
    )
    assert not salvaged.complete
    assert salvaged.inserted == report.documents
    assert all(name in " ".join(salvaged.failures) for name in found & {lost.name, damaged.name})

    damaged.unlink()
    cut.unlink()
    assert back_up(server, database, tmp_path).new_bytes
    assert package.verify(tmp_path).intact


def test_a_damaged_manifest(server: Server, database: str, tmp_path: Path) -> None:
    first, second = (back_up(server, database, tmp_path) for _ in range(2))
    manifest = tmp_path / "backups" / second.name
    manifest.write_text(manifest.read_text().replace('"x_1"', '"x_2"'))
    assert [one.has_manifest for one in package.list_backups(tmp_path)] == [True, False]
    with pytest.raises(BackupDamagedError, match=f"{second.name}: it is not what was written"):
        package.verify(tmp_path)
    assert package.verify(tmp_path, name=first.name).intact
    orphan = tmp_path / pieces.key_of(bytes(32))
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"x")
    age_pieces(tmp_path)
    assert "nobody knows which pieces it needs" in package.prune(tmp_path).notes[0]
    assert orphan.exists()


def test_names(server: Server, database: str, tmp_path: Path) -> None:
    first, second = (back_up(server, database, tmp_path) for _ in range(2))
    assert package.verify(tmp_path, name=first.name).name == first.name
    assert package.verify(tmp_path, name=second.name[:-4]).name == second.name
    for name, said in (("2020", "no such backup"), ("20", "2 backups are called so")):
        with pytest.raises(BackupNotFoundError, match=said):
            package.verify(tmp_path, name=name)


def test_an_oplog_is_kept_and_replayed(replica_set: Server, tmp_path: Path) -> None:
    database, target = replica_set.new_database(), replica_set.new_database()
    with replica_set.client() as client:
        fill(client[database]["c"], 0, 100)
    report = package.backup(
        replica_set.uri,
        db=database,
        folder=tmp_path,
        writing=REPOSITORY,
        reading=ReadOptions(consistency="oplog"),
    )
    assert report.oplog is not None
    assert package.verify(tmp_path).intact
    options = LoadOptions(oplog_replay=True)
    restored = package.restore(replica_set.uri, target_db=target, folder=tmp_path, options=options)
    assert restored.complete
    expected = state(replica_set.connection, database)
    assert differences(expected, state(replica_set.connection, target)) == []


def test_several_databases(server: Server, tmp_path: Path) -> None:
    names = [server.new_database() for _ in range(2)]
    with server.client() as client:
        for name in names:
            fill(client[name]["c"], 0, 10)
    package.backup(server.uri, folder=tmp_path, writing=REPOSITORY)
    before = [state(server.connection, name) for name in names]
    with server.client() as client:
        for name in names:
            open_database(client, name).client.drop_database(name)
    package.restore(server.uri, folder=tmp_path, namespaces=package.NamespaceFilter(
        include=[f"{name}.*" for name in names]))  # fmt: skip
    assert [state(server.connection, name) for name in names] == before


def test_comparing_with_a_database(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    back_up(server, database, tmp_path)
    against = ("verify", "-f", tmp_path, "--against", "--deep", "--uri", server.uri, "--db")
    assert fastdump(*against, database).code == 0
    with server.client() as client:
        client[database]["c"].update_one({"_id": 7}, {"$set": {"x": -1}})
    assert fastdump(*against, database).code == 1


def test_in_an_object_store(
    fastdump: Run, server: Server, database: str, s3: S3Server, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/{tmp_path.name}"
    target = server.new_database()
    commands: list[tuple[object, ...]] = [
        ("backup", "--uri", server.uri, "--db", database, "-f", url, "-y"),
        ("backup", "--uri", server.uri, "--db", database, "-f", url, "-y"),
        ("list", "-f", url),
        ("verify", "-f", url),
        ("restore", "--target-uri", server.uri, "--target-db", target, "-f", url, "-y"),
        ("prune", "-f", url, "--max-backups", "1", "-y"),
        ("verify", "-f", url),
    ]
    outs = []
    for command in commands:
        done = fastdump(*command, **s3.environment)
        assert done.code == 0, done.err
        assert SECRET_KEY not in done.out + done.err
        outs.append(done.out)
    assert f"is complete: {url}/backups/" in outs[0]
    assert "new in the repository: 0 Bytes" in outs[1]
    assert outs[2].count("none") == 2
    assert "1 backups stay" in outs[5]
    expected = state(server.connection, database)
    assert differences(expected, state(server.connection, target)) == []
    for path in s3.folder.rglob("*"):
        if path.is_file():
            assert SECRET_KEY.encode() not in path.read_bytes()


def test_what_is_no_repository(fastdump: Run, s3: S3Server, tmp_path: Path) -> None:
    for url, said, code in (
        (f"s3://{BUCKET}/nothing", "there is no repository of backups", 4),
        ("s3://absent/x", "there is no such bucket", 3),
        ("s3://", "is no place in an object store", 2),
        ("s3://key:secret@bucket/x", "keys and settings go into the environment", 2),
    ):
        done = fastdump("list", "-f", url, **s3.environment)
        assert (done.code, said in done.err) == (code, True), done.err
        assert "secret@" not in done.err
        assert done.err.count("\n") == 1
    wrong = {**s3.environment, "AWS_SECRET_ACCESS_KEY": "typo"}
    done = fastdump("list", "-f", f"s3://{BUCKET}/x", **wrong)
    assert (done.code, "access refused" in done.err) == (3, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 3}, "format 3 needs a newer fastdump"),
        ({"key": "00"}, "its key is damaged"),
        ({"key": 7}, "it describes no repository"),
        ({"id": "another"}, "it is not what was written"),
    ],
)
def test_a_description_that_cannot_be_understood(
    server: Server, database: str, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    back_up(server, database, tmp_path)
    description = tmp_path / DESCRIPTION
    description.write_text(json.dumps({**json.loads(description.read_text()), **change}))
    for ask in (package.list_backups, package.verify, package.prune):
        with pytest.raises(BackupDamagedError, match=said):
            ask(tmp_path)
    with pytest.raises(BackupDamagedError, match=said):
        back_up(server, database, tmp_path)


def test_layouts_are_not_mixed(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    dated, kept = tmp_path / "dated", tmp_path / "kept"
    package.backup(server.uri, db=database, folder=dated)
    with pytest.raises(UsageError, match="holds backups of another layout"):
        back_up(server, database, dated)
    back_up(server, database, kept)
    with pytest.raises(UsageError, match="holds a repository"):
        package.backup(server.uri, db=database, folder=kept, writing=WriteOptions(layout="komodo"))
    assert package.backup(server.uri, db=database, folder=kept).new_bytes == 0
    with pytest.raises(UsageError, match="--out"):
        package.backup(
            server.uri,
            db=database,
            folder=kept,
            writing=WriteOptions(layout="repository", out=tmp_path / "one"),
        )
    with pytest.raises(UsageError, match="--resume"):
        package.backup(server.uri, db=database, folder=kept, resume=True)
    beside = fastdump("backup", "--uri", server.uri, "--db", database, "-f", kept, "-y",
                      "-o", tmp_path / "beside")  # fmt: skip
    assert beside.code == 0, beside.err
    assert (tmp_path / "beside/manifest.json").exists()
    with pytest.raises(UsageError, match="is a repository: name it with -f"):
        package.verify(dated, name=kept)


def test_a_backup_whose_piece_was_removed_meanwhile_is_none(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = back_up(server, database, tmp_path)
    check = planner.plan

    def remove_one(*arguments: object) -> object:
        piece_files(tmp_path)[0].unlink()
        return check(*arguments)  # type: ignore[arg-type]

    known = names_there(LocalStorage(tmp_path))
    monkeypatch.setattr(planner, "plan", remove_one)
    monkeypatch.setattr(place, "names_there", lambda _storage: known)
    with pytest.raises(StorageError, match="1 pieces that this backup needs were removed"):
        back_up(server, database, tmp_path)
    assert [one.name for one in package.list_backups(tmp_path)] == [first.name]


def test_nothing_but_the_owner_reads_it(server: Server, database: str, tmp_path: Path) -> None:
    back_up(server, database, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
