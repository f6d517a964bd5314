"""Remove old backups, until --max-backups remain."""

from __future__ import annotations

import argparse

from fastdump.cli.options import add_folder, add_max_backups, add_yes, confirm
from fastdump.cli.output import notes, size
from fastdump.config import Settings
from fastdump.report import PruneReport

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = "fastdump prune -f /backups --max-backups 7"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `prune`."""
    add_folder(parser)
    add_max_backups(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, remove nothing")
    add_yes(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.prune import prune
    from fastdump.places import layout

    place = layout(settings.folder)
    planned = prune(place, settings.max_backups, dry_run=True)
    if not options.quiet:
        notes(planned.notes)
    if options.dry_run:
        _show(planned, "would remove", quiet=options.quiet)
        return 0
    if planned.removed:
        confirm(
            f"Remove {len(planned.removed)} of {len(planned.removed) + len(planned.kept)} backups "
            f"from {settings.folder} ({planned.removed[0]} to {planned.removed[-1]})?",
            yes=options.yes,
        )
    report = prune(place, settings.max_backups)
    if not options.quiet:
        notes(note for note in report.notes if note not in planned.notes)
    _show(report, "removed", quiet=options.quiet)
    return 0


def _show(report: PruneReport, verb: str, *, quiet: bool) -> None:
    if quiet:
        return
    for name in report.removed:
        print(f"{verb} {name}")
    print(f"{len(report.kept)} backups stay" if report.removed else "nothing to remove")
    if report.freed_bytes:
        print(f"{size(report.freed_bytes)} that no backup needs were deleted")
