"""Backups whose names are later than now: none is pruned or restored for its name."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

import fastdump as api
from benchmarks.shapes import insert
from tests.conftest import Run, Server
from tests.shims import shim

CLOCK = """
    import datetime
    from fastdump.engine.backup import resuming, writing

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.now(tz) + datetime.timedelta(days=400)

    resuming.datetime = writing.datetime = Shifted
"""
"""A clock that is more than a year ahead."""


@pytest.fixture(scope="module")
def database(server: Server) -> str:
    name = server.new_database()
    insert(server.connection, name, "c", ({"_id": n} for n in range(10)))
    return name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("2*"))


def test_another_time_zone(fastdump: Run, server: Server, database: str, tmp_path: Path) -> None:
    """From Tokyo's time to UTC: what was made before is named nine hours later."""
    folder = tmp_path / "b"
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", folder)
    for _turn in range(3):
        assert fastdump(*arguments, TZ="Asia/Tokyo").code == 0
    before = names(folder)
    done = fastdump(*arguments, "--max-backups", "3", TZ="UTC")
    assert done.code == 0, done.err
    left = names(folder)
    (made,) = set(left) - set(before)
    assert made < before[0]
    assert f"backup {made} is complete" in done.out
    assert set(left) == {made, *before[1:]}
    assert f"3 backups are named later than now ({before[0]} to {before[2]})" in done.err
    target = server.new_database()
    restored = fastdump(
        "restore", "-f", folder, "--target-uri", server.uri, "--target-db", target, "-y", TZ="UTC"
    )
    assert restored.code == 0, restored.err
    assert f"Backup {made} " in restored.out
    listed = fastdump("list", "-f", folder, TZ="UTC")
    pruned = fastdump("prune", "-f", folder, "--max-backups", "2", "-y", TZ="UTC")
    assert pruned.code == 0, pruned.err
    for shown in (restored, listed, pruned):
        assert f"2 backups are named later than now ({before[1]} to {before[2]})" in shown.err
    assert set(names(folder)) == {made, before[2]}


def test_a_clock_that_was_ahead(
    fastdump: Run, server: Server, database: str, tmp_path: Path
) -> None:
    """What it made counts as the oldest: it was there before the clock was put right."""
    folder = tmp_path / "b"
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", folder)
    for _turn in range(3):
        done = fastdump(*arguments, **shim(tmp_path / "shim", CLOCK))
        assert done.code == 0, done.err
    ahead = names(folder)
    assert ahead[0] > f"{datetime.now() + timedelta(days=399):%Y-%m-%d}"
    made: list[str] = []
    for was, kept in ((ahead, ahead[1:]), (ahead[1:], ahead[2:]), (ahead[2:], [])):
        done = fastdump(*arguments, "--max-backups", "3")
        assert done.code == 0, done.err
        (new,) = set(names(folder)) - {*ahead, *made}
        made.append(new)
        assert set(names(folder)) == {*made, *kept}
        assert f"from later than now ({was[0]}" in done.err
    done = fastdump(*arguments, "--max-backups", "3")
    assert done.out.splitlines()[-1] == f"removed 1 old backup: {made[0]}"
    assert "later than now" not in done.err


def test_a_clock_that_is_behind(server: Server, database: str, tmp_path: Path) -> None:
    """A backup is never pruned by the run that made it."""
    folder = tmp_path / "b"
    for day in (1, 2, 3):
        (folder / f"2999-01-0{day}_00-00-00").mkdir(parents=True)
        # Komodo's own, which have no manifest.
        (folder / f"2999-01-0{day}_00-00-00" / "c.gz").write_bytes(b"")
    report = api.backup(server.uri, db=database, folder=folder, max_backups=1)
    assert names(folder) == [report.name]
