"""The command drill: restore a backup for a test, compare it, and drop it again."""

from __future__ import annotations

import time
from collections.abc import Iterable

from fastdump.engine.restore.filters import Filters
from fastdump.engine.restore.planning import RestorePlan, plan_restore
from fastdump.engine.restore.run import restore
from fastdump.engine.verify.comparison import compare
from fastdump.errors import UsageError
from fastdump.layouts.interface import Source
from fastdump.model import Connection, LoadOptions
from fastdump.mongo import schema
from fastdump.mongo.client import connect, translated
from fastdump.mongo.retry import retrying
from fastdump.progress import Reporter
from fastdump.report import DrillReport

__all__ = ["drill"]


def drill(
    connection: Connection,
    database: str | None,
    source: Source,
    name: str | None,
    *,
    workers: int,
    reporter: Reporter,
) -> DrillReport:
    """Restore a backup into databases that do not exist, compare each document, and drop them.

    The restore compares options and indexes with those of the backup.

    Args:
        connection: the server to restore to.
        database: the database to restore to; None is the one that the backup would be restored
            into.
        source: where the backup is.
        name: the name or path of the backup; None is the most recent.
        workers: number of processes.
        reporter: is told about the progress.

    Raises:
        BackupDamagedError: a file is not what was written.
        BackupNotFoundError: there is no such backup.
        ServerError: the server cannot be reached or refuses.
        UsageError: a database exists already, or the backup is an archive.
    """
    clock = time.monotonic()
    if source.stream is not None:
        raise UsageError("a drill compares what it restored, for which an archive is read twice")
    plan = plan_restore(
        connection, source, name, workers=workers, how=LoadOptions(), filters=Filters(database)
    )
    _see_empty(plan)
    try:
        restored = restore(plan, workers=workers, reporter=reporter)
        compared = compare(
            connection,
            database,
            source,
            plan.backup.name,
            deep=True,
            workers=workers,
            reporter=reporter,
        )
    finally:
        _drop(connection, plan.databases)
    return DrillReport(restored, compared, time.monotonic() - clock)


def _see_empty(plan: RestorePlan) -> None:
    """See that nothing of the target can be lost when its databases are dropped.

    Raises:
        UsageError: a database has collections.
    """
    connection = plan.connection
    with connect(connection) as client, translated(connection):
        found = retrying(connection)(schema.existing, client, plan.databases)
    if found:
        name = next(iter(found)).database
        raise UsageError(
            f"the database {name!r} of {connection.shown} exists, and a drill drops what it "
            "restored: name a database that does not exist with --target-db"
        )


def _drop(connection: Connection, databases: Iterable[str]) -> None:
    with connect(connection) as client, translated(connection):
        for name in databases:
            retrying(connection)(schema.drop_database, client, name)
