"""The rules of retention keep the right backups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdump.config import Settings, checked_retention
from fastdump.engine.retention import reasons_to_keep
from fastdump.errors import UsageError
from fastdump.model import PERIODS, Backup, Retention

EPOCH = datetime(2024, 1, 1, 3, tzinfo=UTC)  # a Monday


def backup(made: datetime, databases: tuple[str, ...] = ("komodo",)) -> Backup:
    name = f"{made.isoformat()} {'+'.join(databases)}"
    taken = made.replace(tzinfo=None)
    return Backup(name, Path(name), taken, made, (), has_manifest=True, databases=databases)


def kept(retention: Retention, backups: list[Backup]) -> list[int]:
    """The places of the backups that stay, counted from the oldest."""
    names = reasons_to_keep(retention, backups)
    return [place for place, one in enumerate(backups) if one.name in names]


def each(hours: int, count: int) -> list[Backup]:
    return [backup(EPOCH + timedelta(hours=hours * number)) for number in range(count)]


@pytest.mark.parametrize(
    ("retention", "expected"),
    [
        (Retention(), list(range(60))),
        (Retention(last=3), [57, 58, 59]),
        # Twelve hours apart, at 3 and 15: those at 15 are the newest of their day.
        (Retention(daily=3), [55, 57, 59]),
        (Retention(weekly=2), [55, 59]),
        # 60 backups are 30 days: one month, and the oldest while months are missing.
        (Retention(monthly=1), [59]),
        (Retention(monthly=12), [0, 59]),
        (Retention(within=timedelta(days=1)), [58, 59]),
        (Retention(last=1, daily=2, monthly=2), [0, 57, 59]),
    ],
)
def test_the_rules(retention: Retention, expected: list[int]) -> None:
    assert kept(retention, each(12, 60)) == expected


def test_days_are_those_in_utc() -> None:
    """A day that begins in Tokyo is still the last one in UTC."""
    tokyo = timezone(timedelta(hours=9))
    two = [
        backup(datetime(2024, 1, 2, 8, 50, tzinfo=tokyo)),
        backup(datetime(2024, 1, 2, 9, 10, tzinfo=tokyo)),
        backup(datetime(2024, 1, 3, 8, 50, tzinfo=tokyo)),
    ]
    assert kept(Retention(daily=1), two) == [2]
    assert kept(Retention(daily=2), two) == [0, 2]


def test_weeks_at_the_end_of_a_year() -> None:
    days = [datetime(2024, 12, 29, tzinfo=UTC), datetime(2024, 12, 31, tzinfo=UTC)]
    days += [datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 6, tzinfo=UTC)]
    assert kept(Retention(weekly=2), [backup(day) for day in days]) == [2, 3]


def test_databases_are_counted_apart() -> None:
    mixed = [
        backup(EPOCH, ("other",)),
        backup(EPOCH + timedelta(hours=1), ()),  # Komodo's own say nothing
        backup(EPOCH + timedelta(hours=2)),
        backup(EPOCH + timedelta(hours=3), ("a", "b")),
        backup(EPOCH + timedelta(hours=4), ("b", "a")),
        backup(EPOCH + timedelta(hours=5)),
    ]
    assert kept(Retention(last=1), mixed) == [0, 4, 5]
    assert kept(Retention(last=2), mixed) == [0, 2, 3, 4, 5]
    assert kept(Retention(last=3), mixed) == [0, 1, 2, 3, 4, 5]


moments = st.lists(
    st.datetimes(datetime(2023, 1, 1), datetime(2026, 1, 1)), max_size=40, unique=True
)
rules = st.builds(
    Retention,
    last=st.integers(0, 5),
    within=st.none() | st.timedeltas(timedelta(), timedelta(days=400)),
    **{rule: st.integers(0, 5) for rule in PERIODS},
)


@given(moments, rules)
def test_a_rule_more_never_loses_a_backup(times: list[datetime], retention: Retention) -> None:
    """And the newest always stays, and no period is kept more often than it is wanted."""
    backups = [backup(made.replace(tzinfo=UTC)) for made in sorted(times)]
    found = kept(retention, backups)
    alone = [Retention(last=retention.last), Retention(within=retention.within)]
    alone += [Retention(**{rule: getattr(retention, rule)}) for rule in PERIODS]
    wanted = [one for one in alone if one.limits]
    if wanted:
        assert found == sorted({place for one in wanted for place in kept(one, backups)})
    assert not backups or found[-1] == len(backups) - 1
    for one in wanted:
        number = sum(getattr(one, rule) for rule in ("last", *PERIODS))
        if one.within is None:
            assert len(kept(one, backups)) <= number


def settings(**flags: str) -> Retention:
    return Settings({name.replace("_", "-"): text for name, text in flags.items()}, {}).retention


def test_the_default_goes_beside_other_rules() -> None:
    assert settings() == Retention(last=14)
    assert settings(max_backups="0") == Retention()
    assert settings(keep_daily="7") == Retention(daily=7)
    assert settings(keep_daily="0") == Retention(last=14)
    assert settings(keep_daily="7", max_backups="2") == Retention(last=2, daily=7)
    assert settings(keep_within="8w") == Retention(within=timedelta(weeks=8))
    environment = {"FASTDUMP_KEEP_MONTHLY": "12", "KOMODO_CLI_MAX_BACKUPS": "3"}
    assert Settings({}, environment).retention == Retention(last=3, monthly=12)


@pytest.mark.parametrize("text", ["0d", "d", "30", "5m", "-3h", "1.5h", "999999d"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=f"--keep-within is '{text}'.* 12h, 30d or 8w"):
        settings(keep_within=text)


def test_what_the_python_api_refuses() -> None:
    for wrong in (Retention(last=-1), Retention(weekly=-2), Retention(within=timedelta(-1))):
        with pytest.raises(UsageError, match="retention"):
            checked_retention(14, wrong)
