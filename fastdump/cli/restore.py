"""Restore a backup into a database.

The newest backup of the backups folder is restored, unless -r or PATH names
another. Restoring again is safe: documents that are equal are left alone,
others are replaced. Documents that exist only in the target stay, unless
--drop is given. The target must be named by options of its own, so a machine
that is set up to back up cannot restore by accident.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from fastdump.cli.asking import asked_connection, confirm
from fastdump.cli.keys import add_identity, reading_keys_of
from fastdump.cli.options import (
    LOAD_SWITCHES,
    add_folder,
    add_rare,
    add_security,
    add_server,
    add_target,
    add_users_and_roles,
    add_workers,
    add_yes,
    chosen_reporter,
    load_options_of,
    say_of_uri,
)
from fastdump.cli.output import about_held, loaded, notes, shown_database, size
from fastdump.cli.recording import add_watchers, recorded
from fastdump.config import TARGET, Settings
from fastdump.patterns import Patterns, Renaming

if TYPE_CHECKING:
    from fastdump.engine.restore.filters import Filters
    from fastdump.engine.restore.planning import RestorePlan
    from fastdump.model import Connection

__all__ = [
    "EXAMPLES",
    "add_namespaces",
    "add_options",
    "add_which",
    "chosen_backup",
    "filters_of",
    "run",
]

EXAMPLES = """\
fastdump restore --target-uri mongodb://localhost:27017 -f /backups
fastdump restore --target-uri mongodb://localhost --target-db copy -f /backups
fastdump restore --target-uri mongodb://localhost:27017 dump/"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `restore`."""
    add_server(parser, TARGET)
    add_folder(parser)
    add_identity(parser)
    add_which(parser)
    add_namespaces(parser)
    parser.add_argument(
        "--target-collection",
        metavar="NAME",
        help="new name of the collection, if the backup holds only one, such as a .bson file",
    )
    add_target(parser)
    add_users_and_roles(parser, "restore")
    add_workers(parser)
    _add_oplog(parser)
    parser.add_argument(
        "--salvage",
        action="store_true",
        help="restore everything intact from a damaged backup, and report the loss",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan, write nothing")
    add_yes(parser)
    add_watchers(parser)
    add_rare(parser, "retry-for", "write-concern", *LOAD_SWITCHES)
    add_security(parser, TARGET)


def _add_oplog(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("replaying an oplog")
    group.add_argument(
        "--oplog-replay",
        action="store_true",
        help="after the documents, replay the backup's oplog, so that all documents are as of its "
        "end",
    )
    group.add_argument(
        "--oplog-limit",
        metavar="SECONDS[:N]",
        help="stop before operation N of this second, counted from 1970 (FASTDUMP_OPLOG_LIMIT)",
    )
    group.add_argument(
        "--oplog-file",
        "--oplogFile",
        metavar="FILE",
        help="replay this file, if the backup holds no oplog (FASTDUMP_OPLOG_FILE)",
    )


def add_namespaces(parser: argparse.ArgumentParser) -> None:
    """Add `--ns-include` and the like, which choose and rename collections."""
    group = parser.add_argument_group(
        "which collections of the backup, and their new names",
        "A PATTERN is database.collection; * stands for any text, \\* for a star.\n"
        "Each has an environment variable, such as FASTDUMP_NS_INCLUDE.",
    )
    for flag, about in {
        "ns-include": "only these collections; can be repeated",
        "ns-exclude": "leave out these collections; can be repeated",
        "ns-from": "rename these; the text that * or $name$ matches goes into the new name",
        "ns-to": "their new names, one for each --ns-from",
    }.items():
        group.add_argument(f"--{flag}", metavar="PATTERN", action="append", help=about)


def add_which(parser: argparse.ArgumentParser) -> None:
    """Add `-r` and the path, which choose a backup."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-r",
        "--restore-folder",
        metavar="NAME",
        help="name of a backup, as shown by 'fastdump list'; default: the newest",
    )
    which.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="a backup anywhere: its folder, an archive, a .bson file, or - for an archive on "
        "standard input; mongodump's are recognised",
    )


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.restore.run import restore

    connection = asked_connection(settings, TARGET)
    reporter = chosen_reporter(settings, options)
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
    folder = None if options.path else settings.folder
    with recorded("restore", folder, settings, quiet=options.quiet) as outcome:
        report = restore(plan, workers=settings.workers, reporter=reporter)
        if not options.quiet:
            notes(report.notes[len(plan.notes) :], reporter)
        code = loaded(report, "restore", report.consistency, options)
        outcome.of(report, exit_code=code)
    return code


def _plan(settings: Settings, options: argparse.Namespace, connection: Connection) -> RestorePlan:
    from fastdump.engine.restore.planning import plan_restore
    from fastdump.places import source

    which = chosen_backup(options)
    filters = replace(
        filters_of(settings),
        database=settings.named_database(TARGET),
        collection=settings.text("target-collection"),
    )
    return plan_restore(
        connection,
        source(settings.folder, which, reading_keys_of(settings)),
        which,
        workers=settings.workers,
        how=load_options_of(settings, options),
        filters=filters,
    )


def filters_of(settings: Settings) -> Filters:
    """Return the collections that are chosen by pattern, and their new names."""
    from fastdump.engine.restore.filters import Filters

    return Filters(
        include=Patterns(settings.texts("ns-include")),
        exclude=Patterns(settings.texts("ns-exclude")),
        renaming=Renaming(settings.texts("ns-from"), settings.texts("ns-to")),
    )


def chosen_backup(options: argparse.Namespace) -> str | None:
    """Return the name or path of a backup; a path is absolute, so that no folder is added to it."""
    if options.path is not None and options.path != "-":
        from pathlib import Path

        return str(Path(options.path).absolute())
    name: str | None = options.path or options.restore_folder
    return name
