"""Pruning beside a backup, and of what may not be deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fastdump as api
from benchmarks.shapes import insert
from fastdump.errors import StorageError
from fastdump.store.dated import DatedFolders
from tests.conftest import COMMAND_SECONDS, Run, Server
from tests.faults.test_one_at_a_time import slow

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    for collection in ("one", "two"):
        insert(
            server.connection, name, collection, ({"_id": n, "x": "y" * 900} for n in range(5000))
        )
    return name


def old(folder: Path, count: int = 3) -> list[str]:
    names = [f"2020-01-0{day}_00-00-00" for day in range(1, count + 1)]
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "c.gz").write_bytes(b"")
    return names


def test_nothing_is_removed_beside_a_backup(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    """Nor what killed runs left behind: it may be that which is resumed."""
    names = old(tmp_path)
    (tmp_path / ".2020-01-01_01-00-00.partial").mkdir()
    backup = slow(server, database, tmp_path, "--max-backups", "2")
    done = fastdump("prune", "-f", tmp_path, "--max-backups", "1", "-y")
    assert done.code == 1
    assert f"{tmp_path}: another backup is being written there, by process {backup.pid}" in done.err
    assert {*names, ".2020-01-01_01-00-00.partial"} < {path.name for path in tmp_path.iterdir()}
    assert fastdump("prune", "-f", tmp_path, "--max-backups", "1", "--dry-run").code == 0
    out, err = backup.communicate(timeout=COMMAND_SECONDS)
    assert backup.returncode == 0, err
    assert out.splitlines()[-1] == f"removed 2 old: {names[0]}, {names[1]}"
    assert not (tmp_path / ".lock").exists()


def test_no_backup_begins_beside_a_pruning(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    with DatedFolders(tmp_path).locked():
        done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", tmp_path)
        with pytest.raises(StorageError, match="old backups are being removed there"):
            api.prune(tmp_path, max_backups=1)
    assert done.code == 1
    assert f"old backups are being removed there, by process {os.getpid()} for" in done.err
    assert list(tmp_path.iterdir()) == []
    api.prune(tmp_path, max_backups=1)


def test_nobody_gets_between_a_backup_and_its_pruning(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(tmp_path)
    removed = []
    remove = DatedFolders.remove

    def look(self: DatedFolders, backup: api.Backup) -> None:
        with pytest.raises(StorageError, match="another backup is being written there"):
            DatedFolders(tmp_path).locked().__enter__()
        removed.append(backup.name)
        remove(self, backup)

    monkeypatch.setattr(DatedFolders, "remove", look)
    report = api.backup(server.uri, db=database, folder=tmp_path, max_backups=2)
    assert report.pruned == tuple(removed) != ()
