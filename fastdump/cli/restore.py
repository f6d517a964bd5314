"""Load a backup into a database; running it twice leaves the same database.

Documents of the target that are not in the backup stay, unless --drop. The target is never taken
from the settings for the source.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastdump.cli.options import (
    add_folder,
    add_server,
    add_target,
    add_workers,
    add_yes,
    asked_connection,
    chosen_reporter,
    confirm,
)
from fastdump.cli.output import about_held, loaded, notes, shown_database, size
from fastdump.config import TARGET, Settings
from fastdump.errors import UsageError

if TYPE_CHECKING:
    from fastdump.engine.restore import RestorePlan
    from fastdump.model import Connection

__all__ = ["add_options", "add_which", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `restore`."""
    add_server(parser, TARGET)
    add_folder(parser)
    add_which(parser)
    add_target(parser)
    add_workers(parser)
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
    from fastdump.engine.restore import restore

    connection = asked_connection(settings, TARGET)
    reporter = chosen_reporter(settings, quiet=options.quiet)
    plans = _plans(settings, connection, chosen_backup(options))
    for plan in plans if not options.quiet else ():
        target = shown_database(connection, plan.database)
        print(f"Backup {plan.backup.name} ({plan.backup.path}): {len(plan.collections)} ", end="")
        print(f"collections, {size(plan.raw_bytes)} of documents, into {target}")
        notes([*plan.notes, *about_held(plan.held, drop=options.drop)])
    if options.dry_run:
        return 0
    targets = " and ".join(shown_database(connection, plan.database) for plan in plans)
    confirm(f"Restore backup {plans[0].backup.path} into {targets}?", yes=options.yes)
    reports = (
        restore(
            plan,
            workers=settings.workers,
            drop=options.drop,
            with_indexes=not options.no_indexes,
            write_concern=settings.text("write-concern"),
            reporter=reporter,
        )
        for plan in plans
    )
    return max(loaded(report, "restore", quiet=options.quiet) for report in reports)


def _plans(settings: Settings, connection: Connection, which: str | None) -> list[RestorePlan]:
    """A plan for each database: one, unless mongodump dumped several."""
    from fastdump.engine.restore import plan_restore
    from fastdump.store.layouts import sources

    found = sources(settings.folder, which)
    database, workers = settings.named_database(TARGET), settings.workers
    if database is not None and len(found) > 1:
        raise UsageError(
            f"{which} holds {len(found)} databases: name the folder of one, or no target database"
        )
    return [plan_restore(connection, database, source, which, workers=workers) for source in found]


def chosen_backup(options: argparse.Namespace) -> str | None:
    """The name or path of a backup; a path is made absolute, so that no folder is put before it."""
    if options.path is not None:
        from pathlib import Path

        return str(Path(options.path).absolute())
    name: str | None = options.restore_folder
    return name
