"""Write a backup in another layout or to another place, without a server.

The newest backup of the backups folder is read, unless -r or PATH names
another, or --all takes every one. It stays as it is. The new backup has the
same documents, options and indexes, and counts as old as the first one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastdump.cli.keys import add_encryption, add_identity, keys_of, reading_keys_of
from fastdump.cli.options import add_folder, add_layout, add_workers, chosen_reporter
from fastdump.cli.output import notes, summary
from fastdump.cli.restore import add_namespaces, add_which, chosen_backup, filters_of
from fastdump.config import Settings
from fastdump.errors import UsageError
from fastdump.model import Location, WriteOptions, is_url

if TYPE_CHECKING:
    from fastdump.layouts.interface import Destination
    from fastdump.progress import Reporter

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump convert -f /backups --all --to s3://bucket/prefix
fastdump convert dump.archive --layout mongodump --out dump/
fastdump convert dump/ --ns-include 'shop.*' --to /backups"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `convert`."""
    add_folder(parser)
    add_which(parser)
    parser.add_argument("--all", action="store_true", help="convert every backup of the folder")
    parser.add_argument(
        "--to",
        metavar="FOLDER",
        help="folder of backups, or address of a repository, that gets the new backup; nothing is "
        "removed there",
    )
    add_layout(parser)
    add_encryption(parser)
    add_identity(parser)
    add_namespaces(parser)
    add_workers(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    out = settings.text("out")
    if (options.to is None) == (out is None):
        raise UsageError("name the place of the new backup, with either --to or --out")
    if options.all and (out is not None or chosen_backup(options) is not None):
        raise UsageError("--all goes with --to, and without the name of one backup")
    reporter = chosen_reporter(settings, options)
    for name in _names(settings, options):
        _convert(settings, options, name, reporter)
    return 0


def _names(settings: Settings, options: argparse.Namespace) -> Iterator[str | None]:
    """Yield the names of the backups to convert, oldest first; None is the newest."""
    from fastdump.places import layout

    if options.all:
        place = layout(settings.folder, reading_keys_of(settings))
        yield from (backup.name for backup in place.backups())
    else:
        yield chosen_backup(options)


def _convert(
    settings: Settings, options: argparse.Namespace, name: str | None, reporter: Reporter
) -> None:
    from fastdump.engine.convert.planning import plan_convert
    from fastdump.engine.convert.run import convert
    from fastdump.places import source

    layout, place = _destination(settings, options)
    plan = plan_convert(
        source(settings.folder, name, reading_keys_of(settings)),
        name,
        layout,
        workers=settings.workers,
        filters=filters_of(settings),
    )
    report = convert(plan, place, workers=settings.workers, reporter=reporter)
    if not options.quiet:
        notes(report.notes, reporter)
        summary(report.collections, report.seconds, shows_all=options.verbose)
        print(f"\nbackup {report.name} is complete: {report.path}")


def _destination(settings: Settings, options: argparse.Namespace) -> tuple[str, Destination]:
    """Return the layout of the new backup, and its place."""
    from fastdump.places import default_layout, destination

    out = settings.text("out")
    if out == "-":
        raise UsageError("convert writes to a file: name one with --out")
    folder: Location = settings.folder
    if options.to is not None:
        folder = options.to if is_url(options.to) else Path(options.to)
    layout = settings.layout or default_layout(folder, stands_alone=out is not None)
    # Each backup is whole: a latest copy beside the folders might be newer than this backup.
    how = WriteOptions(
        layout=layout,
        out=out,
        compression=settings.compression,
        mode=settings.mode,
        keys=replace(keys_of(settings), identities=()),
        latest_only=(),
    )
    return layout, destination(folder, how)
