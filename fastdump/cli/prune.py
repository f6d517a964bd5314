"""Remove the backups that no rule keeps: by default all but the newest 14."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from fastdump.cli import log
from fastdump.cli.asking import confirm
from fastdump.cli.keys import add_identity, reading_keys_of
from fastdump.cli.options import add_folder, add_retention, add_yes
from fastdump.cli.output import notes, size, table
from fastdump.cli.recording import add_watchers, recorded
from fastdump.config import Settings
from fastdump.report import PruneReport

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump prune -f /backups --keep-last 7
fastdump prune -f /backups --keep-within 2d --keep-daily 14 --keep-monthly 12 --dry-run"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prune`."""
    add_folder(parser)
    add_identity(parser)
    add_retention(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="show which rules keep what, remove nothing"
    )
    add_yes(parser)
    add_watchers(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.prune import prune
    from fastdump.places import layout

    place = layout(settings.folder, reading_keys_of(settings))
    planned = prune(place, settings.retention, dry_run=True)
    if not options.quiet:
        notes(planned.notes)
    if options.dry_run:
        _show(planned, "would remove", quiet=options.quiet)
        if not options.quiet:
            table(("backup", "kept as"), _kept(planned), right=())
        return 0
    if planned.removed:
        confirm(
            f"Remove {len(planned.removed)} of {len(planned.removed) + len(planned.kept)} backups "
            f"from {settings.folder} ({planned.removed[0]} to {planned.removed[-1]})?",
            yes=options.yes,
        )
    with recorded("prune", settings.folder, settings, quiet=options.quiet):
        report = prune(place, settings.retention)
    if not options.quiet:
        notes(note for note in report.notes if note not in planned.notes)
    for name in report.removed:
        log.event(f"removed backup {name}", backup=name)
    _show(report, "removed", quiet=options.quiet)
    return 0


def _kept(report: PruneReport) -> Iterator[tuple[str, str]]:
    return ((name, ", ".join(report.reasons[name])) for name in report.kept)


def _show(report: PruneReport, verb: str, *, quiet: bool) -> None:
    if quiet:
        return
    for name in report.removed:
        print(f"{verb} {name}")
    print(f"{len(report.kept)} backups stay" if report.removed else "nothing to remove")
    if report.freed_bytes:
        print(f"{size(report.freed_bytes)} that no backup needs were deleted")
