"""Load a backup into a database; running it twice leaves the same database.

Documents of the target that are not in the backup stay, unless --drop. The target is never taken
from the settings for the source.
"""

from __future__ import annotations

import argparse
import sys

from fastdump.cli.options import (
    add_folder,
    add_server,
    add_workers,
    add_yes,
    asked_connection,
    chosen_reporter,
    chosen_workers,
    confirm,
)
from fastdump.cli.output import notes, size, summary
from fastdump.config import TARGET, Settings
from fastdump.report import RestoreReport

__all__ = ["add_options", "add_which", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `restore`."""
    add_server(parser, TARGET)
    add_folder(parser)
    add_which(parser)
    parser.add_argument(
        "--drop", action="store_true", help="drop each collection of the backup first"
    )
    parser.add_argument(
        "--no-indexes", action="store_true", help="do not build the backup's indexes"
    )
    add_workers(parser)
    parser.add_argument(
        "--write-concern",
        metavar="W",
        help="a number of servers, majority, or a name of the server's configuration; by default "
        "that of the URI, else majority (FASTDUMP_WRITE_CONCERN)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done and write nothing"
    )
    add_yes(parser)


def add_which(parser: argparse.ArgumentParser) -> None:
    """`-r` or a path: which backup."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-r",
        "--restore-folder",
        metavar="NAME",
        help="which backup, as 'fastdump list' names it; by default the most recent",
    )
    which.add_argument("path", nargs="?", metavar="PATH", help="the folder of a backup anywhere")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from fastdump.engine.restore import plan_restore, restore
    from fastdump.store.komodo import KomodoLayout

    connection, database = asked_connection(settings, TARGET), settings.database(TARGET)
    workers, which = chosen_workers(settings), chosen_backup(options)
    reporter = chosen_reporter(settings, quiet=options.quiet)
    plan = plan_restore(connection, database, KomodoLayout(settings.folder), which)
    target = f"database {database!r} of {connection.shown}"
    if not options.quiet:
        print(f"Backup {plan.backup.name} ({plan.backup.path}): {len(plan.collections)} ", end="")
        print(f"collections, {size(plan.raw_bytes)} of documents, into {target}")
        notes(plan.notes)
        notes([_about_held(plan.held, drop=options.drop)] if plan.held else [])
    if options.dry_run:
        return 0
    confirm(f"Restore backup {plan.backup.name} into {target}?", yes=options.yes)
    report = restore(
        plan,
        workers=workers,
        drop=options.drop,
        with_indexes=not options.no_indexes,
        write_concern=settings.text("write-concern"),
        reporter=reporter,
    )
    if not options.quiet:
        _show(report)
    return _complain(report)


def chosen_backup(options: argparse.Namespace) -> str | None:
    """The name or path of a backup; a path is made absolute, so that no folder is put before it."""
    if options.path is not None:
        from pathlib import Path

        return str(Path(options.path).absolute())
    name: str | None = options.restore_folder
    return name


def _about_held(held: int, *, drop: bool) -> str:
    if drop:
        return f"the target holds about {held:,} documents in these collections; they are dropped"
    return (
        f"the target holds about {held:,} documents in these collections; what is not in the "
        "backup stays there (--drop clears first)"
    )


def _show(report: RestoreReport) -> None:
    summary(report.collections, report.seconds)
    print(
        f"\n{report.inserted:,} documents inserted, {report.replaced:,} replaced, "
        f"{report.unchanged:,} were there already; {report.indexes} indexes in place"
    )


def _complain(report: RestoreReport) -> int:
    if report.complete:
        return 0
    for failure in report.failures:
        print(f"fastdump: {failure}", file=sys.stderr)
    for rejection in report.rejections:
        print(
            f"fastdump: {rejection.collection}: document {rejection.id}: {rejection.reason}",
            file=sys.stderr,
        )
    print(
        f"fastdump: the restore is not complete: {report.rejected:,} documents and "
        f"{len(report.failures)} other things could not be written",
        file=sys.stderr,
    )
    return 1
