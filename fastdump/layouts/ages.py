"""Which backup is older: by when it was made, which its manifest knows in UTC.

A name is local time, for people. After a change of the time zone it may be later than now; a clock
that was ahead makes the manifest's time later than now, too. A backup of the future was made before
now all the same, and before the clock was put right, so it counts as older than all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastdump.model import Backup

__all__ = ["CLOCK_SET_BACK", "about_future", "in_utc", "oldest_first", "when_made"]

CLOCK_SET_BACK = timedelta(hours=2)
"""How far a name may be ahead of the clock without a word, as it is at the end of summer time."""

_SKEW = timedelta(minutes=5)
"""How far the clocks of two machines that share a folder may differ."""


def when_made(path: Path, named: datetime) -> datetime:
    """Return when a folder without a manifest was made, in UTC: when its name says.

    It cannot be later than its last change, of which the file system knows.

    Raises:
        OSError: the folder cannot be looked at.
    """
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return min(in_utc(named), changed)


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC; one that has no time zone is local."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):  # in the first or the last year of all
        return moment.replace(tzinfo=UTC)


def oldest_first(backups: Iterable[Backup]) -> list[Backup]:
    """Return backups in the order in which they were made."""
    now = datetime.now(UTC)
    return sorted(backups, key=lambda one: (not _is_ahead(one, now), one.made, one.name))


def about_future(backups: Sequence[Backup]) -> Iterator[str]:
    """Say which backups have a name or a time that is later than now."""
    now = datetime.now(UTC)
    if ahead := [one.name for one in backups if _is_ahead(one, now)]:
        yield (
            f"{_counted(ahead)} from later than now ({_range(ahead)}): the clock was ahead then, "
            "or is behind now; they count as older than all others"
        )
    latest = datetime.now() + CLOCK_SET_BACK
    if named := [one.name for one in backups if one.taken > latest and one.name not in ahead]:
        yield (
            f"{_counted(named)} named later than now ({_range(named)}), as after a change of the "
            "time zone or of the clock; what counts is when they were made"
        )


def _is_ahead(backup: Backup, now: datetime) -> bool:
    return backup.made > now + _SKEW


def _counted(names: Sequence[str]) -> str:
    return "1 backup is" if len(names) == 1 else f"{len(names)} backups are"


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{min(names)} to {max(names)}"
