"""The command verify --against: comparing a backup with a database, which is only read."""

from __future__ import annotations

import time
from collections import defaultdict

from fastdump.engine import planner
from fastdump.engine.executors import executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.restore.filters import Filters, choose
from fastdump.engine.verify.comparison_worker import Compared, CompareWorker
from fastdump.errors import UsageError
from fastdump.layouts.interface import Reader, Source
from fastdump.model import (
    CollectionKind,
    Connection,
    LoadOptions,
    Namespace,
    StoredCollection,
)
from fastdump.mongo import schema
from fastdump.mongo.client import connect, server_info, translated
from fastdump.mongo.retry import retrying
from fastdump.progress import Reporter
from fastdump.report import AgainstReport, Comparison

__all__ = ["compare"]


def compare(
    connection: Connection,
    database: str | None,
    source: Source,
    name: str | None,
    *,
    deep: bool,
    workers: int,
    reporter: Reporter,
) -> AgainstReport:
    """Compare a backup with a database: the numbers of documents, or every document.

    Args:
        connection: the server.
        database: the database; None is the one that the backup would be restored into.
        source: where the backup is.
        name: the name or path of the backup; None is the most recent.
        deep: compare every document, and not only their numbers.
        workers: number of processes.
        reporter: is told about the progress.

    Raises:
        BackupDamagedError: a file is not what was written.
        BackupNotFoundError: there is no such backup.
        ServerError: the server cannot be reached or refuses.
        UsageError: the backup is an archive, which can be read only once.
    """
    if source.stream is not None:
        raise UsageError("an archive cannot be compared: restore it, and compare the databases")
    clock = time.monotonic()
    backup = source.find(name)
    chosen = choose(backup, source.contents(backup)[0], Filters(database), LoadOptions())
    collections = [
        found for found in chosen.collections.values() if found.kind is not CollectionKind.VIEW
    ]
    counts = _counts(connection, collections)
    compared = _deep(connection, collections, source.reader, workers, reporter) if deep else {}
    return AgainstReport(
        backup.name,
        backup.path,
        time.monotonic() - clock,
        tuple(_comparison(found, counts, compared.get(found.namespace)) for found in collections),
        deep=deep,
    )


def _counts(
    connection: Connection, collections: list[StoredCollection]
) -> dict[Namespace, int | None]:
    """Return the numbers of documents in the database; None for a collection that it lacks."""
    with connect(connection) as client:
        server_info(client, connection)
        with translated(connection):
            databases = {found.namespace.database for found in collections}
            there = retrying(connection)(schema.existing, client, databases)
            return {
                found.namespace: (
                    retrying(connection)(schema.count, client, found.data)
                    if found.namespace in there
                    else None
                )
                for found in collections
            }


def _deep(
    connection: Connection,
    collections: list[StoredCollection],
    reader: Reader,
    workers: int,
    reporter: Reporter,
) -> dict[Namespace, Compared]:
    cut = [segment for found in collections for segment in reader.segments(found, workers)]
    raw_bytes = sum(segment.raw_bytes for segment in cut)
    wanted = min(workers, len(cut)) if planner.use_processes(raw_bytes) else 0
    size = processes(wanted, reporter)
    results = defaultdict[Namespace, list[Compared]](list)
    reporter.start("compare", sum(segment.documents or 0 for segment in cut), raw_bytes)
    try:
        with executor(CompareWorker(connection, reader), size, reporter.update) as pool:
            for segment in cut:
                pool.submit(
                    CompareWorker.compare,
                    segment,
                    lambda segment, found: results[segment.namespace].append(found),
                )
            pool.run()
    finally:
        reporter.stop()
    return {name: Compared.total(found) for name, found in results.items()}


def _comparison(
    found: StoredCollection, counts: dict[Namespace, int | None], compared: Compared | None
) -> Comparison:
    in_database = counts[found.namespace]
    if compared is None:
        return Comparison(found.namespace, found.contents.documents, in_database)
    shared = compared.same + compared.different
    return Comparison(
        found.namespace,
        shared + compared.missing,
        in_database,
        compared.different,
        compared.missing,
        max(0, (in_database or 0) - shared),
        compared.examples,
    )
