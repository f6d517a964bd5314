"""Restore the newest backup for a test, compare it, and drop it again.

The backup is restored into a MongoDB server that is started for it in a
temporary folder, or into a named server. Then every document is compared with
the backup, and options and indexes too. 'fastdump status' shows the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from fastdump.cli import log
from fastdump.cli.asking import asked_connection, confirm
from fastdump.cli.keys import add_identity, reading_keys_of
from fastdump.cli.options import (
    add_folder,
    add_rare,
    add_security,
    add_server,
    add_workers,
    add_yes,
    chosen_reporter,
    say_of_uri,
)
from fastdump.cli.output import comparisons, notes
from fastdump.cli.recording import add_watchers, recorded
from fastdump.cli.restore import add_which, chosen_backup
from fastdump.config import TARGET, Settings, described
from fastdump.errors import IncompleteError
from fastdump.model import Connection
from fastdump.report import DrillReport

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump drill -f /backups
fastdump drill -f /backups --target-uri mongodb://spare:27017 --target-db drill -y"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `drill`."""
    add_folder(parser)
    add_identity(parser)
    add_which(parser)
    add_server(parser, TARGET)
    add_workers(parser)
    add_yes(parser)
    add_watchers(parser)
    add_rare(parser, "retry-for")
    add_security(parser, TARGET)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.drill import drill
    from fastdump.places import source

    which = chosen_backup(options)
    folder = None if options.path else settings.folder
    reporter = chosen_reporter(settings, options)
    with (
        recorded("drill", folder, settings, quiet=options.quiet) as outcome,
        _target(settings, options) as (connection, database),
    ):
        say_of_uri(reporter, connection)
        report = drill(
            connection,
            database,
            source(settings.folder, which, reading_keys_of(settings)),
            which,
            workers=settings.workers,
            reporter=reporter,
        )
        outcome.of(report.restored)
        _show(report, options)
    return 0


@contextmanager
def _target(
    settings: Settings, options: argparse.Namespace
) -> Iterator[tuple[Connection, str | None]]:
    """Give the named server, or start one, with the database to restore to."""
    if settings.names_server(TARGET):
        connection = asked_connection(settings, TARGET)
        database = settings.named_database(TARGET)
        confirm(f"Restore to {connection.shown} for a test, and drop it again?", yes=options.yes)
        yield connection, database
        return
    from fastdump.embedded import Mongod

    with Mongod() as server:
        yield described(server.uri), None


def _show(report: DrillReport, options: argparse.Namespace) -> None:
    """Print the result.

    Raises:
        IncompleteError: the backup was not restored as it is.
    """
    restored = report.restored
    if not options.quiet:
        notes(restored.notes)
        comparisons(report.compared, shows_all=options.verbose)
    for failure in restored.failures:
        log.error(failure)
    if not report.passed:
        raise IncompleteError(
            f"backup {restored.name} was not restored as it is: see above, and run fastdump verify"
        )
    if not options.quiet:
        print(
            f"\nbackup {restored.name} was restored in {restored.seconds:,.1f} s: "
            f"{restored.documents:,} documents and {restored.indexes:,} indexes are as in the "
            "backup; everything was dropped again"
        )
