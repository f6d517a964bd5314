"""Load a backup into a database; running it twice leaves the same database.

Documents of the target that are not in the backup stay, unless --drop. The target is never taken
from the settings for the source.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from fastdump.cli.options import (
    add_folder,
    add_retry,
    add_security,
    add_server,
    add_target,
    add_users_and_roles,
    add_workers,
    add_yes,
    asked_connection,
    chosen_reporter,
    confirm,
    load_options_of,
    say_of_uri,
)
from fastdump.cli.output import about_held, loaded, notes, shown_database, size
from fastdump.config import TARGET, Settings
from fastdump.patterns import Patterns, Renaming

if TYPE_CHECKING:
    from fastdump.engine.restore.planning import RestorePlan
    from fastdump.model import Connection

__all__ = ["EXAMPLES", "add_options", "add_which", "run"]

EXAMPLES = """\
fastdump restore --target-uri mongodb://localhost:27017 --target-db komodo -f /backups
fastdump restore --target-uri mongodb://localhost:27017 dump/"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `restore`."""
    add_server(parser, TARGET)
    add_folder(parser)
    add_which(parser)
    _add_namespaces(parser)
    add_target(parser)
    add_users_and_roles(parser)
    add_workers(parser)
    add_retry(parser)
    parser.add_argument(
        "--oplog-replay",
        action="store_true",
        help="replay what happened while the backup was made, so that all of it is of one moment",
    )
    parser.add_argument(
        "--oplog-limit",
        metavar="SECONDS[:N]",
        help="replay only what happened before that second since 1970, and before the Nth "
        "operation in it (FASTDUMP_OPLOG_LIMIT)",
    )
    parser.add_argument(
        "--oplog-file",
        "--oplogFile",
        metavar="FILE",
        help="replay this oplog, of a backup that holds none (FASTDUMP_OPLOG_FILE)",
    )
    parser.add_argument(
        "--salvage",
        action="store_true",
        help="restore what is intact of a damaged backup, and say what is lost",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done and write nothing"
    )
    add_yes(parser)
    add_security(parser, TARGET)


def _add_namespaces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which collections, as database.collection")
    group.add_argument(
        "--target-collection",
        metavar="NAME",
        help="what the only collection is to be called, as that of a single file "
        "(FASTDUMP_TARGET_COLLECTION)",
    )
    for flag, about in {
        "ns-include": "only these; * stands for anything, \\* for itself",
        "ns-exclude": "not these",
        "ns-from": "rename these; * or $name$ stands for what goes into the new name",
        "ns-to": "the new names, one for each --ns-from",
    }.items():
        group.add_argument(f"--{flag}", metavar="PATTERN", action="append", help=about)


def add_which(parser: argparse.ArgumentParser) -> None:
    """`-r` or a path: which backup."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-r",
        "--restore-folder",
        metavar="NAME",
        help="which backup, as 'fastdump list' names it; by default the most recent",
    )
    which.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="the folder of a backup anywhere, or an archive, or - for one on standard input, or "
        "a .bson file",
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from fastdump.engine.restore.run import restore

    connection = asked_connection(settings, TARGET)
    reporter = chosen_reporter(settings, quiet=options.quiet)
    say_of_uri(reporter, connection)
    plan = _plan(settings, options, connection)
    target = shown_database(connection, *plan.databases)
    if not options.quiet:
        print(f"Backup {plan.backup.name} ({plan.backup.path}): {len(plan.collections)} ", end="")
        documents = f"{size(plan.raw_bytes)} of " if plan.raw_bytes else ""
        print(f"collections, {documents}documents, into {target}")
        notes([*plan.notes, *about_held(plan.held, drop=options.drop)], reporter)
    if options.dry_run:
        return 0
    confirm(f"Restore backup {plan.backup.path} into {target}?", yes=options.yes)
    report = restore(plan, workers=settings.workers, reporter=reporter)
    if not options.quiet:
        notes(report.notes[len(plan.notes) :], reporter)
    return loaded(report, "restore", report.consistency, quiet=options.quiet)


def _plan(settings: Settings, options: argparse.Namespace, connection: Connection) -> RestorePlan:
    from fastdump.engine.restore.filters import Filters
    from fastdump.engine.restore.planning import plan_restore
    from fastdump.places import source

    which = chosen_backup(options)
    filters = Filters(
        settings.named_database(TARGET),
        settings.text("target-collection"),
        Patterns(settings.texts("ns-include")),
        Patterns(settings.texts("ns-exclude")),
        Renaming(settings.texts("ns-from"), settings.texts("ns-to")),
    )
    return plan_restore(
        connection,
        source(settings.folder, which),
        which,
        workers=settings.workers,
        how=load_options_of(settings, options),
        filters=filters,
    )


def chosen_backup(options: argparse.Namespace) -> str | None:
    """The name or path of a backup; a path is made absolute, so that no folder is put before it."""
    if options.path is not None and options.path != "-":
        from pathlib import Path

        return str(Path(options.path).absolute())
    name: str | None = options.path or options.restore_folder
    return name
