"""Which folders go and which stay: never one that is not a backup."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.shapes import insert
from tests.conftest import Run, Server, listed

STRANGERS = (
    "photos", "2024-13-45_99-00-00", "2024-01-01", "2024-01-01_03-00-00.bak", "0000",
    ".2024-01-01_03-00-00.partial", "zzz", "2024-01-01T03:00:00",
)  # fmt: skip


def daily(folder: Path, days: int) -> list[str]:
    """Folders as Komodo's own backup makes them, one a day, for which no manifest exists."""
    first = datetime(2023, 11, 1, 3, 0, 1)
    names = [(first + timedelta(days=day)).strftime("%Y-%m-%d_%H-%M-%S") for day in range(days)]
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "Server.gz").write_bytes(b"")
    return names


def test_two_years_of_daily_backups_among_strangers(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    folder, outside = tmp_path / "backups", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    names = daily(folder, 731)
    for stranger in STRANGERS:
        (folder / stranger).mkdir()
        (folder / stranger / "precious").write_text("x")
    (folder / "2020-01-01_00-00-00").symlink_to(outside)
    (folder / "2020-01-02_00-00-00").write_text("a file that is named like a backup")

    planned = fastdump("prune", "-f", folder, "--dry-run")
    assert planned.code == 0
    assert planned.out.splitlines()[0] == f"would remove {names[0]}"
    assert planned.out.count("would remove") == 731 - 14
    assert len(listed(folder)) == 731 + len(STRANGERS) + 2

    database = server.new_database()
    insert(server.connection, database, "Server", [{"_id": 1}])
    done = fastdump("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y")
    assert done.code == 0, done.err
    assert f"removed {731 - 13} old" in done.out
    left = {path.name for path in listed(folder)}
    # What killed runs left behind is no stranger, and older than what is kept.
    strangers = [name for name in STRANGERS if not name.endswith((".partial", ".removed"))]
    assert {*names[-13:], *strangers} < left
    assert left & {*names[:-13]} == set()
    assert len(left) == 14 + len(strangers) + 2
    for kept in (*(folder / name for name in strangers), outside):
        assert (kept / "precious").read_text() == "x"


def test_nothing_goes_where_pruning_is_disabled(
    fastdump: Run, server: Server, tmp_path: Path
) -> None:
    daily(tmp_path / "b", 20)
    database = server.new_database()
    insert(server.connection, database, "Server", [{"_id": 1}])
    variables = {
        "KOMODO_DATABASE_URI": server.uri,
        "KOMODO_DATABASE_DB_NAME": database,
        "KOMODO_CLI_BACKUPS_FOLDER": str(tmp_path / "b"),
        "KOMODO_CLI_MAX_BACKUPS": "0",
    }
    assert fastdump("backup", "-y", **variables).code == 0
    assert len(listed(tmp_path / "b")) == 21


def test_nothing_goes_after_a_backup_that_failed(fastdump: Run, tmp_path: Path) -> None:
    daily(tmp_path, 20)
    uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200"
    assert fastdump("backup", "--uri", uri, "-f", tmp_path, "-y").code == 3
    assert len(listed(tmp_path)) == 20


def test_rules_are_shown_and_kept(fastdump: Run, tmp_path: Path) -> None:
    names = daily(tmp_path, 100)  # from 2023-11-01 to 2024-02-08
    rules = ("--keep-within", "36h", "--keep-monthly", "3", "--keep-yearly", "1")
    planned = fastdump("prune", "-f", tmp_path, *rules, "--dry-run", TZ="UTC")
    assert planned.code == 0, planned.err
    kept = {line.split()[0]: line.split(maxsplit=1)[1] for line in planned.out.splitlines()[-4:]}
    assert kept == {
        "2023-12-31_03-00-01": "monthly",
        "2024-01-31_03-00-01": "monthly",
        "2024-02-07_03-00-01": "within",
        "2024-02-08_03-00-01": "within, monthly, yearly",
    }
    assert len(list(tmp_path.iterdir())) == 100
    assert fastdump("prune", "-f", tmp_path, *rules, "-y", TZ="UTC").code == 0
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(kept) <= set(names)


def test_a_backup_keeps_by_rules_too(fastdump: Run, server: Server, tmp_path: Path) -> None:
    names = daily(tmp_path, 30)
    database = server.new_database()
    insert(server.connection, database, "Server", [{"_id": 1}])
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", tmp_path, "-y")
    done = fastdump(*arguments, "--keep-daily", "5", TZ="UTC")
    assert done.code == 0, done.err
    assert "removed 26 old" in done.out
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert left[:-1] == names[-4:]
