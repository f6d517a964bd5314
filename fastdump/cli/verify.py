"""Read a whole backup and compare it with what its manifest promises."""

from __future__ import annotations

import argparse
import sys

from fastdump.cli.options import add_folder, add_workers, chosen_reporter
from fastdump.cli.output import notes, summary
from fastdump.cli.restore import add_which, chosen_backup
from fastdump.config import Settings
from fastdump.errors import BackupDamagedError

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `verify`."""
    add_folder(parser)
    add_which(parser)
    add_workers(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from fastdump.engine.verify import verify
    from fastdump.store.komodo import KomodoLayout

    report = verify(
        KomodoLayout(settings.folder),
        chosen_backup(options),
        workers=settings.workers,
        reporter=chosen_reporter(settings, quiet=options.quiet),
    )
    if not options.quiet:
        summary(report.collections, report.seconds)
        notes(report.notes)
    for problem in report.problems:
        print(f"fastdump: {problem.path}: {problem.message}", file=sys.stderr)
    if not report.intact:
        raise BackupDamagedError(
            f"backup {report.name} is damaged: {len(report.problems)} problems"
        )
    if not options.quiet:
        print(f"\nbackup {report.name} is intact")
    return 0
