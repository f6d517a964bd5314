"""Copy a database to another server, without files.

Copying again is safe: documents that are equal are left alone, others are
replaced. Documents that exist only in the target stay, unless --drop is given.
Source and target have options of their own, so they cannot be confused.
"""

from __future__ import annotations

import argparse

from fastdump.cli.asking import asked_connection, confirm
from fastdump.cli.options import (
    LOAD_SWITCHES,
    add_rare,
    add_security,
    add_server,
    add_target,
    add_workers,
    add_yes,
    chosen_reporter,
    load_options_of,
    say_of_uri,
)
from fastdump.cli.output import about_held, loaded, notes, shown_database, size
from fastdump.cli.reading import add_consistency, add_selection, read_options_of, selection_of
from fastdump.config import SOURCE, TARGET, Settings

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump copy --uri mongodb://old:27017 --target-uri mongodb://new:27017 \\
    --db komodo --target-db komodo"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `copy`."""
    add_server(parser, SOURCE)
    add_server(parser, TARGET)
    add_selection(parser)
    add_target(parser)
    add_workers(parser)
    add_consistency(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan, write nothing")
    add_yes(parser)
    add_rare(parser, "max-rate", "retry-for", "write-concern", *LOAD_SWITCHES)
    add_security(parser, SOURCE)
    add_security(parser, TARGET)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.copy.planning import plan_copy
    from fastdump.engine.copy.run import copy

    target, source = asked_connection(settings, TARGET), asked_connection(settings, SOURCE)
    name, database, workers = settings.database(SOURCE), settings.database(TARGET), settings.workers
    reporter = chosen_reporter(settings, options)
    say_of_uri(reporter, source, target)
    selection = selection_of(settings, options, name)
    how, reading = load_options_of(settings, options), read_options_of(settings)
    plan = plan_copy(source, selection, target, database, how=how)
    where = f"{shown_database(source, name)} into {shown_database(target, database)}"
    if not options.quiet:
        print(f"{len(plan.catalog.collections)} collections, about ", end="")
        print(f"{size(plan.catalog.raw_bytes)} of documents, from {where}")
        notes([*plan.notes, *about_held(plan.held, drop=options.drop)], reporter)
    if options.dry_run:
        return 0
    confirm(f"Copy {where}?", yes=options.yes)
    report = copy(plan, how=reading, workers=workers, reporter=reporter)
    if not options.quiet:
        notes(report.notes[len(plan.notes) :], reporter)
    return loaded(report, "copy", report.consistency, options)
