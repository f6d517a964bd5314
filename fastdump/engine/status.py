"""The command status: what the backups of a place and its journal say, and if all is well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from fastdump.errors import BackupDamagedError
from fastdump.model import (
    Backup,
    CollectionKind,
    Contents,
    Limits,
    Namespace,
    Run,
    StoredCollection,
)
from fastdump.report import Growth, StatusReport

__all__ = ["status"]

_UNKNOWN = Contents()

_COUNT = ("backup", "verify", "drill", "prune")
"""Commands whose failure means that something is wrong with the backups. One of a restore may be
the target's."""

_TESTS = ("verify", "drill")
"""Commands that show that a backup can be restored."""


def status(
    backups: Sequence[Backup],
    latest: Sequence[StoredCollection],
    runs: Sequence[Run],
    limits: Limits,
    now: datetime,
) -> StatusReport:
    """Say what is known of some backups, and what is wrong.

    Args:
        backups: the backups of a place, oldest first.
        latest: the collections beside them, of which there is only the latest copy.
        runs: its journal, oldest first.
        limits: what must be fulfilled.
        now: the present time, in UTC.
    """
    newest = backups[-1] if backups else None
    before = _before(backups)
    made = None if newest is None else _last(runs, "backup", name=newest.name)
    return StatusReport(
        backups=tuple(backups),
        newest=newest,
        latest=tuple(latest),
        made=made,
        verified=_last(runs, "verify"),
        drilled=_last(runs, "drill"),
        runs=tuple(runs),
        growth=tuple(_growth(newest, before)),
        problems=tuple(_problems(newest, before, runs, limits, now)),
    )


def _before(backups: Sequence[Backup]) -> Backup | None:
    """Return the backup of the same databases before the newest."""
    same = (one for one in reversed(backups[:-1]) if one.databases == backups[-1].databases)
    return next(same, None)


def _last(runs: Sequence[Run], command: str, name: str | None = None) -> Run | None:
    """Return the last run of a command that succeeded, of one backup or of any."""
    found = (
        run
        for run in reversed(runs)
        if run.command == command and run.ok and name in (None, run.backup)
    )
    return next(found, None)


def _growth(newest: Backup | None, before: Backup | None) -> Iterator[Growth]:
    """Yield the collections of the newest backup, largest first, and those that it lost."""
    now, then = _contents(newest), _contents(before)
    found = [
        Growth(
            name,
            now.get(name, _UNKNOWN).documents,
            now.get(name, _UNKNOWN).raw_bytes,
            then.get(name, _UNKNOWN).documents,
            then.get(name, _UNKNOWN).raw_bytes,
        )
        for name in dict.fromkeys([*now, *then])
    ]
    yield from sorted(found, key=lambda one: -(one.raw_bytes or one.raw_bytes_before or 0))


def _contents(backup: Backup | None) -> dict[Namespace, Contents]:
    found = () if backup is None else backup.collections
    return {one.namespace: one.contents for one in found if one.kind is not CollectionKind.VIEW}


def _problems(
    newest: Backup | None,
    before: Backup | None,
    runs: Sequence[Run],
    limits: Limits,
    now: datetime,
) -> Iterator[str]:
    if newest is None:
        yield "there is no complete backup"
    else:
        yield from _too_old(newest, limits, now)
        yield from _too_small(newest, before, limits)
    yield from _failed(runs)
    tested = [run.started for run in runs if run.command in _TESTS and run.ok]
    limit = limits.max_unverified
    if limit is not None and (not tested or now - tested[-1] > limit):
        when = f"since {_ago(now - tested[-1])}" if tested else "yet"
        yield f"no backup was verified {when}: run fastdump verify or fastdump drill"


def _too_old(newest: Backup, limits: Limits, now: datetime) -> Iterator[str]:
    age = now - newest.made
    if limits.max_age is not None and age > limits.max_age:
        yield (
            f"the newest backup is {_hours(age)} old, more than {_hours(limits.max_age)}: see why "
            "no later one was made"
        )


def _too_small(newest: Backup, before: Backup | None, limits: Limits) -> Iterator[str]:
    count, earlier = newest.documents, None if before is None else before.documents
    if count is None:
        if limits.min_documents is not None or limits.max_shrink is not None:
            yield f"nobody knows how many documents {newest.name} has: give --identity"
        return
    if limits.min_documents is not None and count < limits.min_documents:
        yield f"{newest.name} has {count:,} documents, fewer than {limits.min_documents:,}"
    if limits.max_shrink is not None and earlier and count < earlier * (1 - limits.max_shrink):
        yield (
            f"{newest.name} has {count:,} documents, {1 - count / earlier:.0%} fewer than the "
            f"backup before it ({earlier:,})"
        )


def _failed(runs: Sequence[Run]) -> Iterator[str]:
    """Yield the failures that no later success of the same command has made up for."""
    last = {run.command: run for run in runs if run.command in _COUNT}
    for run in last.values():
        if run.ok:
            continue
        what = f"the last {run.command}"
        if run.command in _TESTS and run.exit_code == BackupDamagedError.exit_code:
            what = f"the last {run.command} found damage"
        told = f": {run.message}" if run.message else f", with exit code {run.exit_code}"
        yield f"{what} failed at {run.started.astimezone():%Y-%m-%d %H:%M}{told}"


def _hours(time: timedelta) -> str:
    return f"{time / timedelta(hours=1):,.0f} hours"


def _ago(time: timedelta) -> str:
    return f"{time / timedelta(days=1):,.0f} days"
