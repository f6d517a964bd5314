"""Pruning beside a backup, and of what may not be deleted."""

from __future__ import annotations

import getpass
import os
import pwd
import subprocess
from pathlib import Path

import pytest

import fastdump as api
from benchmarks.shapes import insert
from fastdump.errors import StorageError
from fastdump.layouts.dated_folders import DatedFolders
from tests.conftest import COMMAND_SECONDS, JOURNAL, Run, Server, command, environment, listed
from tests.faults.test_one_at_a_time import slow
from tests.shims import shim

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
    assert out.splitlines()[-1] == f"removed 2 old backups: {names[0]}, {names[1]}"
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
    assert listed(tmp_path) == []
    api.prune(tmp_path, max_backups=1)


def test_nobody_gets_between_a_backup_and_its_pruning(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(tmp_path)
    removed = []
    remove = DatedFolders.remove

    def look(self: DatedFolders, path: Path) -> None:
        with pytest.raises(StorageError, match="another backup is being written there"):
            DatedFolders(tmp_path).locked().__enter__()
        removed.append(path.name)
        remove(self, path)

    monkeypatch.setattr(DatedFolders, "remove", look)
    report = api.backup(server.uri, db=database, folder=tmp_path, max_backups=2)
    assert report.pruned == tuple(removed) != ()


def without_privileges(arguments: list[str]) -> list[str]:
    """The same command, which may delete nothing but what its user may, if that is root."""
    if os.getuid():
        return arguments
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", *arguments]


def give_away(folder: Path) -> str:
    """Make a folder and what is in it somebody else's; returns whose it is then."""
    if os.getuid():
        folder.chmod(0o555)  # only root can give something away
        return getpass.getuser()
    for path in (*folder.rglob("*"), folder):
        os.chown(path, 65534, 65534)
        path.chmod(0o755 if path.is_dir() else 0o644)
    return pwd.getpwuid(65534).pw_name


def limited_prune(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        without_privileges(command(*arguments)), env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("inner", ["", "db"])  # as mongodump's, with a folder for each database
def test_what_may_be_renamed_but_not_deleted(
    server: Server, database: str, tmp_path: Path, inner: str
) -> None:
    """It keeps its name, the others go, and so it is every night."""
    names = old(tmp_path, 4)
    for name in names:
        (tmp_path / name / inner).mkdir(exist_ok=True)
        (tmp_path / name / inner / "c.bson").write_bytes(b"")
    kept = tmp_path / names[1]
    owner = give_away(kept / inner)
    done = limited_prune("prune", "-f", tmp_path, "--max-backups", "1", "-y")
    assert done.returncode == 1
    said = f"{kept / inner}: this belongs to {owner}"
    assert said in done.stderr
    assert {path.name for path in listed(tmp_path)} == {names[1], names[3]}
    assert sorted(path.name for path in kept.iterdir()) == sorted(["c.gz", inner or "c.bson"])
    for _night in range(2):
        backup = limited_prune(
            "backup", "--uri", server.uri, "--db", database, "-f", tmp_path, "--max-backups", "1"
        )
        assert backup.returncode == 1
        assert "is complete, but old ones could not be removed" in backup.stderr
        assert said in backup.stderr
        (_new,) = {path.name for path in listed(tmp_path)} - {names[1]}
    (kept / inner).chmod(0o777)


def everything(folder: Path) -> list[Path]:
    """Return all that is below a folder of backups, without the journal of runs."""
    return sorted(path for path in folder.rglob("*") if path.name != JOURNAL)


def test_a_file_that_cannot_be_deleted(
    fastdump: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nobody knows before; as long as nothing of a backup is gone, it gets its name back."""
    names = old(tmp_path, 2)
    (tmp_path / names[0] / "d.gz").write_bytes(b"")
    refusing = """
        os.unlink = refusing(os.unlink, errno.EPERM, lambda path, **_: "{}" in str(path))
        os.supports_dir_fd.add(os.unlink)  # or the standard library would do without
    """
    before = everything(tmp_path)
    for name, left in (("gz", before), ("d.gz", None)):
        variables = shim(tmp_path_factory.mktemp("shim"), refusing.format(name))
        done = fastdump("prune", "-f", tmp_path, "--max-backups", "1", "-y", **variables)
        assert done.code == 1
        assert "d.gz: this belongs to" in done.err or left
        assert left is None or everything(tmp_path) == left
    assert "Traceback" not in done.err
