"""Back up a database into a new dated folder, then remove surplus old backups."""

from __future__ import annotations

import argparse
import sys

from fastdump.cli.options import (
    add_folder,
    add_layout,
    add_max_backups,
    add_server,
    add_workers,
    add_yes,
    asked_connection,
    chosen_reporter,
    confirm,
)
from fastdump.cli.output import notes, shown_database, shown_name, size, summary, table
from fastdump.config import SOURCE, Settings
from fastdump.model import Catalog, Chunk, Connection

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `backup`."""
    add_server(parser, SOURCE)
    add_folder(parser)
    add_max_backups(parser)
    add_layout(parser)
    add_workers(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan and read no document")
    add_yes(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from fastdump.engine.backup import backup, plan_backup
    from fastdump.store.layouts import layout

    connection = asked_connection(settings, SOURCE)
    database, workers = settings.database(SOURCE), settings.workers
    place = layout(settings.layout, settings.folder, settings.latest_only)
    level, max_backups = settings.level, settings.max_backups
    if options.dry_run:
        _show_plan(*plan_backup(connection, database, workers))
        return 0
    if sys.stdin.isatty() and not options.yes:
        _ask(connection, database, settings)
    report = backup(
        connection,
        database,
        place,
        workers=workers,
        level=level,
        max_backups=max_backups,
        reporter=chosen_reporter(settings, quiet=options.quiet),
    )
    if not options.quiet:
        notes(report.notes)
        summary(report.collections, report.seconds)
        print(f"\nbackup {report.name} is complete: {report.path}")
        if report.pruned:
            print(f"removed {len(report.pruned)} old: {', '.join(report.pruned)}")
    return 0


def _ask(connection: Connection, database: str, settings: Settings) -> None:
    kept = f"the newest {settings.max_backups} backups" if settings.max_backups else "all backups"
    confirm(
        f"Back up {shown_database(connection, database)} into {settings.folder}, keeping {kept}?",
        yes=False,
    )


def _show_plan(catalog: Catalog, chunks: list[Chunk]) -> None:
    rows = []
    for collection in catalog.collections:
        own = [chunk for chunk in chunks if chunk.collection == collection.name]
        rows.append(
            (
                shown_name(collection.name),
                f"{collection.documents:,}",
                size(collection.raw_bytes),
                f"{len(own)}",
                own[0].how if own else "definition only",
            )
        )
    table(("collection", "documents", "size", "chunks", "read"), rows, right=(1, 2, 3))
