"""Read a whole backup and compare it with what its manifest promises."""

from __future__ import annotations

import argparse
import sys

from fastdump.cli.options import add_folder, add_workers, chosen_reporter
from fastdump.cli.output import notes, summary
from fastdump.cli.restore import add_which, chosen_backup
from fastdump.config import Settings
from fastdump.errors import BackupDamagedError
from fastdump.report import VerifyReport

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `verify`."""
    add_folder(parser)
    add_which(parser)
    add_workers(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from fastdump.engine.verify import verify
    from fastdump.store.layouts import source

    which = chosen_backup(options)
    report = verify(
        source(settings.folder, which),
        which,
        workers=settings.workers,
        reporter=chosen_reporter(settings, quiet=options.quiet),
    )
    _show(report, quiet=options.quiet)
    if not report.intact:
        problems = len(report.problems)
        raise BackupDamagedError(f"backup {report.name} is damaged: {problems} problems")
    return 0


def _show(report: VerifyReport, *, quiet: bool) -> None:
    if not quiet:
        summary(report.collections, report.seconds)
        notes(report.notes)
    for problem in report.problems:
        print(f"fastdump: {problem.path}: {problem.message}", file=sys.stderr)
    if report.intact and not quiet:
        print(f"\nbackup {report.name} is intact")
