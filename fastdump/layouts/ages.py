"""Order backups by age: by the UTC time in the manifest, not by the name, which is local time.

After a change of the time zone, a name may be later than now. If the clock was ahead, the time in
the manifest may be later than now too. Such a backup was made before the clock was corrected, so it
counts as older than all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastdump.model import Backup

__all__ = ["CLOCK_SET_BACK", "about_future", "in_utc", "oldest_first", "when_made"]

CLOCK_SET_BACK = timedelta(hours=2)
"""Time that a name may be ahead of the clock without a note, as at the end of summer time."""

_SKEW = timedelta(minutes=5)
"""Accepted difference between the clocks of two machines that share a folder."""


def when_made(path: Path, named: datetime) -> datetime:
    """Return the time in UTC at which a folder without a manifest was made.

    This is the time in its name, or the time of its last change if that is earlier.

    Raises:
        OSError: the folder cannot be read.
    """
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return min(in_utc(named), changed)


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC; one without a time zone is taken as local time."""
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError):  # in the first or the last year that Python knows
        return moment.replace(tzinfo=UTC)


def oldest_first(backups: Iterable[Backup]) -> list[Backup]:
    """Return backups in the order in which they were made."""
    now = datetime.now(UTC)
    return sorted(backups, key=lambda one: (not _is_ahead(one, now), one.made, one.name))


def about_future(backups: Sequence[Backup]) -> Iterator[str]:
    """Yield notes about backups with a name or a time that is later than now."""
    now = datetime.now(UTC)
    if ahead := [one.name for one in backups if _is_ahead(one, now)]:
        yield (
            f"{_counted(ahead)} from later than now ({_range(ahead)}): the clock was ahead when "
            "they were made, or is behind now; they count as older than all others"
        )
    latest = datetime.now() + CLOCK_SET_BACK
    if named := [one.name for one in backups if one.taken > latest and one.name not in ahead]:
        yield (
            f"{_counted(named)} named later than now ({_range(named)}), as after a change of the "
            "time zone or of the clock; they are sorted by the time in their manifest"
        )


def _is_ahead(backup: Backup, now: datetime) -> bool:
    return backup.made > now + _SKEW


def _counted(names: Sequence[str]) -> str:
    return "1 backup is" if len(names) == 1 else f"{len(names)} backups are"


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{min(names)} to {max(names)}"
