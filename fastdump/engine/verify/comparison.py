"""Comparing a backup with a live database: counts, or document by document."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fastdump.codec.bson import id_element, split
from fastdump.engine import planner
from fastdump.engine.executors import executor
from fastdump.engine.executors.forkserver import processes
from fastdump.engine.restore.filters import Filters, choose
from fastdump.engine.server_worker import ServerWorker
from fastdump.errors import UsageError
from fastdump.layouts.interface import Reader, Source
from fastdump.layouts.segments import read_lines
from fastdump.model import (
    CollectionKind,
    Connection,
    Encoding,
    LoadOptions,
    Namespace,
    Segment,
    StoredCollection,
)
from fastdump.mongo import ejson, schema
from fastdump.mongo.bucket_access import Access, access_to
from fastdump.mongo.client import connect, open_database, server_info, translated
from fastdump.mongo.documents_by_id import read_held, shown_id
from fastdump.mongo.load import MAX_RUN_DOCUMENTS
from fastdump.mongo.retry import retrying
from fastdump.progress import Reporter
from fastdump.report import AgainstReport, Comparison

__all__ = ["compare"]

_RUN_BYTES = 4 * 1024 * 1024
_NAMED = 3


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
    """Compare a backup with a database, which is only read.

    Args:
        connection: the server.
        database: the database; None is that which the backup would be restored into.
        source: where the backup is.
        name: which, by name or path; None is the most recent.
        deep: compare every document, and not only how many there are.
        workers: number of processes.
        reporter: hears how it goes.

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


@dataclass(frozen=True, slots=True)
class _Compared:
    same: int
    different: int
    missing: int
    examples: tuple[str, ...]


def _counts(
    connection: Connection, collections: list[StoredCollection]
) -> dict[Namespace, int | None]:
    """How many documents there are in the database; None where there is no such collection."""
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
) -> dict[Namespace, _Compared]:
    cut = [segment for found in collections for segment in reader.segments(found, workers)]
    raw_bytes = sum(segment.raw_bytes for segment in cut)
    wanted = min(workers, len(cut)) if planner.use_processes(raw_bytes) else 0
    size = processes(wanted, reporter)
    results = defaultdict[Namespace, list[_Compared]](list)
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
    return {name: _summed(found) for name, found in results.items()}


def _summed(found: list[_Compared]) -> _Compared:
    examples = [example for one in found for example in one.examples]
    return _Compared(
        sum(one.same for one in found),
        sum(one.different for one in found),
        sum(one.missing for one in found),
        tuple(examples[:_NAMED]),
    )


def _comparison(
    found: StoredCollection, counts: dict[Namespace, int | None], compared: _Compared | None
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


class CompareWorker(ServerWorker):
    """Looks up the documents of segments.

    Args:
        connection: the server.
        reader: what reads the backup.
    """

    def __init__(self, connection: Connection, reader: Reader) -> None:
        super().__init__(connection)
        self._reader = reader

    def compare(self, segment: Segment) -> _Compared:
        """Compare every document of a segment with what the database has under its `_id`."""
        counts, examples = Counter[str](), list[str]()
        with translated(self.connection):
            again = retrying(self.connection, self._interrupted)
            source = again(access_to, self.client, segment.target)
        for run in self._runs(segment):
            for start, end, found in split(run, _RUN_BYTES, MAX_RUN_DOCUMENTS):
                part = run[start:end]
                spans = [(begin - start, stop - start) for begin, stop in found]
                held = self._held(segment.target.database, source, part, spans)
                ids = {id_element(document, (0, len(document))) for document in held}
                for span in spans:
                    verdict = "same"
                    if part[span[0] : span[1]] not in held:
                        is_there = id_element(part, span) in ids
                        verdict = "different" if is_there else "missing"
                        examples.append(f"{shown_id(part, span)} is {verdict}")
                    counts[verdict] += 1
                self.done(len(found), len(part))
        return _Compared(
            counts["same"], counts["different"], counts["missing"], tuple(examples[:_NAMED])
        )

    def _runs(self, segment: Segment) -> Iterator[bytes]:
        if segment.place.encoding is Encoding.JSON:
            return (ejson.decode(lines).batch.data for lines in read_lines(segment))
        return (batch.data for batch in self._reader.batches(segment.place))

    def _held(
        self, database: str, source: Access, run: bytes, spans: list[tuple[int, int]]
    ) -> set[bytes]:
        with translated(self.connection):
            again = retrying(self.connection, self._interrupted)
            return again(read_held, open_database(self.client, database), source, run, spans)
