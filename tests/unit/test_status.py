from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastdump.engine.status import status
from fastdump.model import (
    Backup,
    CollectionKind,
    Contents,
    Limits,
    Namespace,
    Run,
    StoredCollection,
)
from fastdump.report import StatusReport
from fastdump.runs import journal
from fastdump.runs.journal import FileJournal, Journal, ObjectJournal
from fastdump.storage.memory import MemoryStorage

NOW = datetime(2026, 8, 12, 12, tzinfo=UTC)


def backup(hours: int, documents: int = 1000, name: str = "c") -> Backup:
    """A backup that is so old."""
    made = NOW - timedelta(hours=hours)
    collection = StoredCollection(
        Namespace("db", name),
        CollectionKind.COLLECTION,
        contents=Contents(documents, 10 * documents),
        file=None,
    )
    return Backup(
        f"{made:%Y-%m-%d_%H-%M-%S}", "/b", made.replace(tzinfo=None), made, (collection,),
        has_manifest=True, databases=("db",),
    )  # fmt: skip


def run(command: str, hours: float, exit_code: int = 0, message: str = "") -> Run:
    return Run(command, NOW - timedelta(hours=hours), 1.5, exit_code, message)


def problems(*backups: Backup, runs: tuple[Run, ...] = (), **limits: object) -> list[str]:
    return list(told(*backups, runs=runs, **limits).problems)


def told(*backups: Backup, runs: tuple[Run, ...] = (), **limits: object) -> StatusReport:
    return status(backups, (), runs, Limits(**limits), NOW)  # type: ignore[arg-type]


def test_no_backup_is_a_problem() -> None:
    assert problems() == ["there is no complete backup"]
    assert problems(backup(1)) == []


def test_the_age_of_the_newest() -> None:
    assert problems(backup(50), backup(26), max_age=timedelta(hours=26)) == []
    (problem,) = problems(backup(50), backup(27), max_age=timedelta(hours=26))
    assert "27 hours old, more than 26 hours" in problem


def test_documents() -> None:
    assert problems(backup(1, 1000), min_documents=1000) == []
    (problem,) = problems(backup(1, 999), min_documents=1000)
    assert "999 documents, fewer than 1,000" in problem
    assert problems(backup(9, 1000), backup(1, 800), max_shrink=0.2) == []
    (problem,) = problems(backup(9, 1000), backup(1, 799), max_shrink=0.2)
    assert "20% fewer than the backup before it (1,000)" in problem
    # A backup of another database in between is no measure.
    other = replace(backup(5, 5000), databases=("other",))
    assert problems(backup(9, 1000), other, backup(1, 900), max_shrink=0.2) == []


def test_one_that_is_encrypted_has_an_unknown_number() -> None:
    sealed = replace(backup(1), sealed_bytes=5, collections=())
    assert problems(sealed) == []
    (problem,) = problems(sealed, min_documents=1)
    assert "give --identity" in problem


@pytest.mark.parametrize("command", ["verify", "drill"])
def test_when_it_was_tested(command: str) -> None:
    limit = timedelta(days=8)
    (problem,) = problems(backup(1), max_unverified=limit)
    assert "no backup was verified yet" in problem
    assert problems(backup(1), runs=(run(command, 100),), max_unverified=limit) == []
    (problem,) = problems(backup(1), runs=(run(command, 240),), max_unverified=limit)
    assert "since 10 days" in problem
    found = problems(backup(1), runs=(run(command, 5, 4, "x"),), max_unverified=limit)
    assert ["found damage" in found[0], "verified yet" in found[1]] == [True, True]


def test_a_failure_counts_until_the_same_command_succeeds() -> None:
    failed = run("backup", 5, 3, "the server is gone")
    (problem,) = problems(backup(30), runs=(run("backup", 30), failed, run("prune", 1)))
    assert "the last backup failed at" in problem
    assert problem.endswith(": the server is gone")
    assert problems(backup(1), runs=(failed, run("backup", 1))) == []
    # The target of a restore may be to blame for its failure.
    assert problems(backup(1), runs=(run("restore", 1, 3, "no space left"),)) == []


def test_growth() -> None:
    report = told(backup(9, 100), backup(5, 100, "gone"), backup(1, 150))
    found = {one.namespace.collection: one for one in report.growth}
    assert (found["c"].documents, found["c"].documents_before) == (150, None)
    assert (found["gone"].documents, found["gone"].documents_before) == (None, 100)


def journals(tmp_path: Path) -> list[Journal]:
    return [FileJournal(tmp_path), ObjectJournal(MemoryStorage(), shows_messages=True)]


def test_a_journal_keeps_so_many_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT", 5)
    runs = [run("backup", hours, 3, f"number {hours}\n") for hours in range(16, 0, -1)]
    for kept in journals(tmp_path):
        assert kept.runs() == []
        for number, one in enumerate(runs, 1):
            kept.add(one)
            found = kept.runs()
            assert found == runs[number - len(found) : number]
            assert min(number, 5) <= len(found) <= 10
    assert [path.name for path in tmp_path.iterdir()] == [journal.FILE]


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    first, second = run("backup", 2), run("verify", 1, 4, "x" * 5000)
    storage = MemoryStorage()
    stored = ObjectJournal(storage, shows_messages=True)
    in_file = FileJournal(tmp_path)
    for kept in (stored, in_file):
        kept.add(first)
    storage.put(f"{journal.RUNS}/0", b"no run")
    with (tmp_path / journal.FILE).open("ab") as file:
        file.write(b'{"command": "ba\n\xff\n')
    for kept in (stored, in_file):
        kept.add(second)
        assert kept.runs() == [first, replace(second, message="x" * 2000)]


def test_the_journal_of_an_encrypted_repository_says_nothing_of_names() -> None:
    storage = MemoryStorage()
    kept = ObjectJournal(storage, shows_messages=False)
    kept.add(run("backup", 1, 3, "collection secret is gone"))
    (entry,) = storage.list(journal.RUNS)
    assert b"secret" not in storage.get(entry.key)
    assert kept.runs()[0].exit_code == 3


def test_a_line_that_was_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    in_file = FileJournal(tmp_path)
    in_file.add(run("backup", 3))
    in_file.add(run("backup", 2))
    path = tmp_path / journal.FILE
    path.write_bytes(path.read_bytes()[:-20])
    in_file.add(run("verify", 1))
    assert [one.command for one in in_file.runs()] == ["backup", "verify"]
