"""Find places to cut a collection that the next backup finds again.

A repository stores what is cut in the same places once. Record ids do not change, so bounds are
multiples of a power of two. Along `_id`, bounds are those of the last backup, and new ones behind
the last of them, where collections mostly grow.
"""

from __future__ import annotations

from collections.abc import Mapping

from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from fastdump.model import Bounds, Collection, Namespace
from fastdump.mongo.bounds import BoundFinder, existing_records, records_at_ends
from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import Client, Document

__all__ = ["StableBoundFinder"]

_CHUNK_BYTES = 32 * 1024 * 1024
"""Wanted size of a chunk in bytes of BSON; it has half of it to all, if no records are missing."""

_OUTGROWN = 3
"""Known bounds are given up where chunks are so many times larger on average."""


class StableBoundFinder(BoundFinder):
    """Finds the bounds of an earlier backup again.

    Args:
        client: the server.
        records: whether record ids may be used.
        known: where earlier backups cut collections along `_id`.
    """

    def __init__(self, client: Client, *, records: bool, known: Mapping[Namespace, Bounds]) -> None:
        super().__init__(client, records=records)
        self._known = known

    def cut_records(
        self, database: Database[Document], source: Access, collection: Collection, pieces: int
    ) -> tuple[int, ...]:
        """Return record ids that are multiples of a power of two, or the next that is in use."""
        first, last = records_at_ends(self._client, database, source)
        if first is None or last is None:
            return ()
        step = 1 << (_documents_of_chunk(collection).bit_length() - 1)
        multiples = range(first - first % step + step, last, step)
        found = {*existing_records(self._client, database, source, multiples)} - {None}
        if len(found) * 2 < len(multiples):
            # Few of the record ids are in use.
            return super().cut_records(database, source, collection, pieces)
        return tuple(sorted(one for one in found if one is not None))

    def cut_ids(
        self, database: Database[Document], source: Access, collection: Collection, pieces: int
    ) -> tuple[bytes, ...]:
        """Return the known bounds, and further ones behind them."""
        known = self._known.get(collection.namespace, Bounds()).ids
        if not known or collection.raw_bytes > _OUTGROWN * _CHUNK_BYTES * (len(known) + 1):
            return super().cut_ids(database, source, collection, pieces)
        found = list(known)
        distance = _documents_of_chunk(collection)
        while len(found) <= 2 * len(known):
            following = _id_behind(database, source, found[-1], distance)
            if following is None:
                break
            found.append(following)
        return tuple(found)


def _documents_of_chunk(collection: Collection) -> int:
    size = max(1, collection.raw_bytes // max(1, collection.documents))
    return max(1, _CHUNK_BYTES // size)


def _id_behind(
    database: Database[Document], source: Access, bound: bytes, distance: int
) -> bytes | None:
    """Return the `_id` that is so many behind a bound, if twice as many are there."""
    command = {
        **source.command("find"),
        "min": RawBSONDocument(bound),
        "hint": {"_id": 1},
        "sort": {"_id": 1},
        "projection": {"_id": 1},
        "skip": distance,
        "limit": distance,
        "batchSize": distance,
        "singleBatch": True,
    }
    batch = database.command(command)["cursor"]["firstBatch"]
    return bytes(batch[0].raw) if len(batch) == distance else None
