"""Choose which backups stay: by rules as restic has them, by the time in UTC of their making."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fastdump.layouts.ages import in_utc
from fastdump.model import PERIODS, Backup, Retention

__all__ = ["reasons_to_keep"]

_FORMS = dict(zip(PERIODS, ("%Y-%m-%d %H", "%Y-%m-%d", "%G week %V", "%Y-%m", "%Y"), strict=True))
"""Text that is equal for all moments of a period, by the period's name. Weeks begin on Monday."""


def reasons_to_keep(retention: Retention, backups: Sequence[Backup]) -> dict[str, list[str]]:
    """Return the rules that keep each backup, by name; a backup that no rule keeps is absent.

    Backups of different databases are counted apart, so that none takes the place of another's
    last one. A backup that does not say which databases it is of, such as one that Komodo made,
    counts with the newest one that does.

    Args:
        retention: the rules; without any, all backups are kept.
        backups: all backups, oldest first.
    """
    found = defaultdict[str, list[str]](list)
    for group in _groups(backups):
        for name, reason in _reasons(retention, group):
            found[name].append(reason)
    return dict(found)


def _groups(backups: Sequence[Backup]) -> Iterator[list[Backup]]:
    """Yield the backups of the same databases, newest first."""
    newest_first = backups[::-1]
    implied = next((one.databases for one in newest_first if one.databases), ())
    groups = defaultdict[tuple[str, ...], list[Backup]](list)
    for one in newest_first:
        groups[tuple(sorted(one.databases or implied))].append(one)
    yield from groups.values()


def _reasons(retention: Retention, group: Sequence[Backup]) -> Iterator[tuple[str, str]]:
    """Yield the name of each backup that is kept, with the rule that keeps it."""
    if not retention.limits:
        yield from ((one.name, "all") for one in group)
        return
    yield from ((one.name, "last") for one in group[: retention.last])
    if retention.within is not None:
        since = group[0].made - retention.within
        yield from ((one.name, "within") for one in group if one.made > since)
    for period, form in _FORMS.items():
        for one in _newest_of_each(group, form, getattr(retention, period)):
            yield one.name, period


def _newest_of_each(group: Sequence[Backup], form: str, count: int) -> Iterator[Backup]:
    """Yield the newest backup of each of the last periods that have one.

    While fewer periods have a backup than are wanted, the oldest backup stays too: else a folder
    that gets a backup a day would never hold one that is a month old.
    """
    last = None
    for one in group:
        period = in_utc(one.made).strftime(form)
        if count and (period != last or one is group[-1]):
            yield one
            last = period
            count -= 1
