"""Back up a database, then remove old backups.

Each backup is a new folder named after the local time. It appears under this
name only when it is complete. Then all but the newest 14 are removed
(--max-backups).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout

from fastdump.cli import log
from fastdump.cli.asking import asked_connection, confirm
from fastdump.cli.keys import add_encryption, add_identity, keys_of
from fastdump.cli.options import (
    add_folder,
    add_layout,
    add_rare,
    add_retention,
    add_security,
    add_server,
    add_users_and_roles,
    add_workers,
    add_yes,
    chosen_reporter,
    say_of_uri,
)
from fastdump.cli.output import (
    consistent,
    interrupted,
    naming,
    notes,
    shown_database,
    shown_name,
    size,
    split_off,
    summary,
    table,
)
from fastdump.cli.reading import add_consistency, add_selection, read_options_of, selection_of
from fastdump.cli.recording import add_watchers, recorded
from fastdump.config import SOURCE, Settings
from fastdump.errors import UsageError
from fastdump.model import (
    DEFAULT_DATABASE,
    KEEPS_DATABASE,
    PERIODS,
    Catalog,
    Chunk,
    Collection,
    Connection,
    Namespace,
    Retention,
    WriteOptions,
)
from fastdump.progress import Reporter, Silent
from fastdump.report import BackupReport

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump backup --uri mongodb://localhost:27017 --db komodo -f /backups
fastdump backup --uri mongodb://localhost --layout archive --out all.archive
fastdump backup --uri mongodb://localhost -f s3://bucket/prefix"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `backup`."""
    add_server(parser, SOURCE)
    add_folder(parser)
    add_retention(parser)
    add_layout(parser)
    add_encryption(parser)
    add_identity(parser)
    add_selection(parser)
    add_consistency(parser)
    add_users_and_roles(parser, "back up")
    add_workers(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the newest unfinished backup with the same settings, if there is one; if "
        "this run fails, keep what is done for the next --resume",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan, read no documents")
    add_yes(parser)
    add_watchers(parser)
    add_rare(parser, "max-rate", "retry-for", "latest-only", "level", "mode")
    add_security(parser, SOURCE)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.backup.run import backup
    from fastdump.engine.sessions.plain import ReadContext, Session
    from fastdump.mongo.client import connect
    from fastdump.mongo.members import members
    from fastdump.places import default_layout, destination

    connection, workers = asked_connection(settings, SOURCE), settings.workers
    stands_alone = settings.text("out") is not None
    implied = default_layout(settings.folder, stands_alone=stands_alone)
    writing = _write_options(settings, settings.layout or implied)
    database = settings.named_database(SOURCE)
    if database is None and writing.layout not in KEEPS_DATABASE:
        database = DEFAULT_DATABASE
    selection = selection_of(settings, options, database)
    retention = settings.retention
    how = read_options_of(settings)
    place = destination(settings.folder, writing)
    if options.dry_run:
        readers = members(connection)
        with connect(readers[0]) as client:
            session = Session(ReadContext(client, readers, selection, workers, Silent()))
            _show_plan(*session.plan(), shows_all=options.verbose)
        return 0
    if sys.stdin.isatty() and not options.yes:
        _ask(connection, database, settings)
    to_stream = settings.text("out") == "-"
    if to_stream and sys.__stdout__ is not None and sys.__stdout__.isatty():
        raise UsageError(
            "an archive cannot be printed on a terminal: redirect standard output to a file or a "
            "program"
        )
    reporter = chosen_reporter(settings, options)
    say_of_uri(reporter, connection)
    folder = None if place.layout is None else settings.folder
    with recorded("backup", folder, settings, quiet=options.quiet) as outcome:
        report = backup(
            connection,
            selection,
            place,
            how=how,
            workers=workers,
            retention=retention,
            resume=options.resume,
            reporter=reporter,
        )
        outcome.of(report)
    for name in report.pruned:
        log.event(f"removed old backup {name}", backup=name)
    if not options.quiet:
        # If standard output is the archive, print the report to standard error.
        is_moved = to_stream and settings.log_format is None
        with redirect_stdout(sys.stderr) if is_moved else nullcontext():
            _show(report, reporter, to_stream=to_stream, shows_all=options.verbose)
    return 0


def _write_options(settings: Settings, layout: str) -> WriteOptions:
    return WriteOptions(
        layout=layout,
        out=settings.text("out"),
        compression=settings.compression,
        mode=settings.mode,
        keys=keys_of(settings),
        latest_only=settings.latest_only,
    )


def _show(report: BackupReport, reporter: Reporter, *, to_stream: bool, shows_all: bool) -> None:
    notes(report.notes, reporter)
    interrupted(report.interruptions, reporter)
    summary(report.collections, report.seconds, shows_all=shows_all)
    print()
    if report.oplog is not None:
        kept = f"{report.oplog.documents:,} operations, {size(report.oplog.file_bytes)}"
        print(f"oplog: {kept}; restore --oplog-replay brings all documents to one moment")
    consistent(report.consistency)
    if report.new_bytes is not None:
        known = size(report.file_bytes - report.new_bytes)
        print(f"new in the repository: {size(report.new_bytes)}; it had {known} of this already")
    if to_stream:
        print("the archive on standard output is complete")
    else:
        print(f"backup {report.name} is complete: {report.path}")
    if report.pruned:
        backups = "backup" if len(report.pruned) == 1 else "backups"
        print(f"removed {len(report.pruned)} old {backups}: {', '.join(report.pruned)}")


def _described(retention: Retention) -> str:
    """Return the rules in words."""
    rules = {rule: getattr(retention, rule) for rule in PERIODS}
    words = [f"{number} {rule}" for rule, number in rules.items() if number]
    if retention.last:
        words.insert(0, f"the newest {retention.last} backups")
    if retention.within is not None:
        words.append(f"all within {retention.within}")
    return ", ".join(words) or "all backups"


def _ask(connection: Connection, database: str | None, settings: Settings) -> None:
    kept = _described(settings.retention)
    where = settings.text("out") or f"{settings.folder}, keeping {kept}"
    confirm(f"Back up {shown_database(connection, database)} into {where}?", yes=False)


def _show_plan(catalog: Catalog, chunks: list[Chunk], *, shows_all: bool) -> None:
    of_name = defaultdict[Namespace, list[Chunk]](list)
    for chunk in chunks:
        of_name[chunk.namespace].append(chunk)
    name_of = naming(collection.namespace for collection in catalog.collections)
    shown, others = split_off(catalog.collections, lambda one: one.raw_bytes, shows_all=shows_all)
    rows = [
        _planned(shown_name(name_of(one.namespace)), [one], of_name[one.namespace]) for one in shown
    ]
    if others:
        rest = [chunk for one in others for chunk in of_name[one.namespace]]
        rows.append(_planned(f"{len(others):,} others", others, rest))
    table(("collection", "documents", "size", "chunks", "read"), rows, right=(1, 2, 3))


def _planned(
    name: str, collections: Sequence[Collection], chunks: Sequence[Chunk]
) -> tuple[str, ...]:
    ways = dict.fromkeys(str(chunk.range) for chunk in chunks)
    return (
        name,
        f"{sum(one.documents for one in collections):,}",
        size(sum(one.raw_bytes for one in collections)),
        f"{len(chunks):,}",
        next(iter(ways), "definition only"),
    )
