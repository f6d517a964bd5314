"""The worker's part of a comparison: looking up the documents of a backup in a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastdump.codec.bson import id_element, split
from fastdump.engine.server_worker import ServerWorker
from fastdump.layouts.interface import Reader
from fastdump.layouts.segments import read_lines
from fastdump.model import Connection, Encoding, Segment
from fastdump.mongo import ejson
from fastdump.mongo.bucket_access import Access, access_to
from fastdump.mongo.client import open_database, translated
from fastdump.mongo.documents_by_id import read_held, shown_id
from fastdump.mongo.load import MAX_RUN_DOCUMENTS
from fastdump.mongo.retry import retrying

__all__ = ["CompareWorker", "Compared"]

_RUN_BYTES = 4 * 1024 * 1024
"""Number of bytes of documents that are looked up at a time."""

_NAMED = 3
"""Number of documents that are named of those that differ or are missing."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The result of comparing documents of one collection."""

    same: int
    different: int
    missing: int
    examples: tuple[str, ...]
    """The first few that are different or missing, with their `_id`s."""

    @classmethod
    def total(cls, parts: Sequence[Compared]) -> Compared:
        """Return the sums of several."""
        examples = [example for one in parts for example in one.examples]
        return cls(
            sum(one.same for one in parts),
            sum(one.different for one in parts),
            sum(one.missing for one in parts),
            tuple(examples[:_NAMED]),
        )


class CompareWorker(ServerWorker):
    """A worker that looks up the documents of segments in a database.

    Args:
        connection: the server of the database.
        reader: reads the segments.
    """

    def __init__(self, connection: Connection, reader: Reader) -> None:
        super().__init__(connection)
        self._reader = reader

    def compare(self, segment: Segment) -> Compared:
        """Compare every document of a segment with the one that the database has under its `_id`.

        Raises:
            BackupDamagedError: the file is not what was written.
            ServerError: the server cannot be reached or refuses.
            StorageError: the file cannot be read.
        """
        counts, examples = Counter[str](), list[str]()
        with translated(self.connection):
            again = retrying(self.connection)
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
        return Compared(
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
            again = retrying(self.connection)
            return again(read_held, open_database(self.client, database), source, run, spans)
