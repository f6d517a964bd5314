"""Show how the backups of a folder are, and whether all is well.

The newest backup, when a backup was last verified and restored for a test, how
collections grew, and what failed lately. The exit code is 1 if something is
wrong: there is no backup, the last run of a command failed, or a limit that
you set is exceeded. So it serves as a health check.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fastdump.cli import log
from fastdump.cli.keys import add_identity, reading_keys_of
from fastdump.cli.options import add_folder
from fastdump.cli.output import age, naming, shown_name, size, split_off, table
from fastdump.config import Settings
from fastdump.model import Backup, Limits, Run
from fastdump.report import Growth, StatusReport

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump status -f /backups
fastdump status -f /backups --max-age 26h --max-unverified 8d --max-shrink 20%"""

_NAME_WIDTH = 15

_FAILURES = 3
"""Number of failures that are shown."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    add_folder(parser)
    add_identity(parser)
    parser.add_argument(
        "--html", metavar="FILE", help="write it as a page too, with plots, which needs no network"
    )
    group = parser.add_argument_group(
        "limits", "Each has an environment variable, such as FASTDUMP_MAX_AGE."
    )
    for flag, metavar, about in (
        ("max-age", "TIME", "the newest backup must not be older, such as 26h or 2d"),
        ("max-unverified", "TIME", "a backup must have been verified or drilled so lately"),
        ("min-documents", "N", "the newest backup must have so many documents"),
        (
            "max-shrink",
            "PERCENT",
            "the newest backup must not have so much fewer documents than the one before it, such "
            "as 20%%",
        ),
    ):
        group.add_argument(f"--{flag}", metavar=metavar, help=about)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.status import status
    from fastdump.places import journal, layout

    limits = settings.limits
    place = layout(settings.folder, reading_keys_of(settings))
    report = status(
        place.backups(),
        place.latest(),
        journal(settings.folder).runs(),
        limits,
        datetime.now(UTC),
    )
    if options.html is not None:
        from fastdump.cli.page.render import page, write_page

        write_page(Path(options.html), page(report, settings.folder, datetime.now(UTC)))
    if not options.quiet:
        _show(report, limits, shows_all=options.verbose)
    for problem in report.problems:
        log.error(problem)
    return 0 if report.well else 1


def _show(report: StatusReport, limits: Limits, *, shows_all: bool) -> None:
    for name, fact in _facts(report):
        print(f"{name:<{_NAME_WIDTH}}{fact}")
    if report.growth:
        print()
        _show_growth(report, shows_all=shows_all)
    if report.well:
        among = " within the limits" if limits != Limits() else ""
        print(f"\nall is well{among}")


def _facts(report: StatusReport) -> Iterator[tuple[str, str]]:
    newest = report.newest
    if newest is not None:
        documents = "" if newest.documents is None else f"{newest.documents:,} documents, "
        took = "" if report.made is None else f", made in {report.made.seconds:,.1f} s"
        yield "newest backup", f"{newest.name}, {age(newest.made)}{took}"
        yield "", f"{documents}{size(newest.file_bytes)}, consistency {newest.consistency or '?'}"
        since = report.backups[0].name
        yield "backups", f"{len(report.backups):,} since {since}{_together(report.backups)}"
    for one in report.latest:
        count = one.contents.documents
        documents = "" if count is None else f", {count:,} documents"
        yield "beside them", f"the latest {one.name}, {size(one.file_bytes)}{documents}"
    yield "last verified", _told(report.verified)
    yield "last drill", _told(report.drilled)
    for number, failure in enumerate(reversed(report.failures[-_FAILURES:])):
        when = f"{failure.started.astimezone():%Y-%m-%d %H:%M}"
        message = failure.message or f"exit code {failure.exit_code}"
        yield "" if number else "failures", f"{when} {failure.command}: {message}"


def _together(backups: Sequence[Backup]) -> str:
    """Return the size of all backups; empty if it is not known what encrypted ones share."""
    if any(one.sealed_bytes is not None for one in backups):
        return ""
    sizes = (one.file_bytes if one.added_bytes is None else one.added_bytes for one in backups)
    return f", {size(sum(sizes))} together"


def _told(run: Run | None) -> str:
    if run is None:
        return "never"
    part = "" if run.share == 1 else f", {run.share:.0%} of it"
    return f"{age(run.started)}, {run.backup}{part}"


def _show_growth(report: StatusReport, *, shows_all: bool) -> None:
    name_of = naming(one.namespace for one in report.growth)
    shown, others = split_off(report.growth, lambda one: one.raw_bytes or 0, shows_all=shows_all)
    rows = [_row(shown_name(name_of(one.namespace)), one) for one in shown]
    if others:
        rows.append((f"{len(others):,} others", "", "", "", ""))
    headers = ("collection", "documents", "since the last", "size", "since the last")
    table(headers, rows, right=range(1, 5))


def _row(name: str, one: Growth) -> tuple[str, ...]:
    return (
        name,
        "none" if one.documents is None else f"{one.documents:,}",
        _change(one.documents, one.documents_before),
        "" if one.raw_bytes is None else size(one.raw_bytes),
        _change(one.raw_bytes, one.raw_bytes_before),
    )


def _change(now: int | None, before: int | None) -> str:
    """Return a change in percent; empty if there was nothing before."""
    if now is None:
        return "gone"
    if before is None:
        return "new"
    if now == before:
        return "same"
    return f"{(now - before) / before:+.1%}" if before else ""
