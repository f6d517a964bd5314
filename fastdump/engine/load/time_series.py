"""The check of time series that hold measurements on the target already.

The `_id` of a measurement means nothing: a server packs measurements into buckets, and those have
`_id`s. Buckets of the same origin have the same `_id`s, so that they can be restored again. But if
the target has none of the buckets to load, its measurements came there in another way, and it is
unknown which of them would be there twice after the restore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from fastdump.codec.archive import Block
from fastdump.codec.bson import Batch, spans
from fastdump.engine import planner
from fastdump.engine.server_worker import ServerWorker
from fastdump.errors import BackupDamagedError, UsageError
from fastdump.layouts.interface import Reader, Stream
from fastdump.layouts.segments import read_lines
from fastdump.model import (
    Bounds,
    Collection,
    Connection,
    Definition,
    Encoding,
    Namespace,
    StoredCollection,
)
from fastdump.model.server import data_namespace
from fastdump.mongo import ejson
from fastdump.mongo.bucket_access import access_to
from fastdump.mongo.client import Client, open_database
from fastdump.mongo.documents_by_id import read_held
from fastdump.mongo.retry import retrying

__all__ = ["Documents", "check_series", "of_backup", "of_server"]

Documents = Callable[[Definition], Iterator[Batch] | None]
"""Reads the documents to load into a collection; None if they can be read only once."""


def check_series(
    client: Client, connection: Connection, definition: Definition, documents: Documents
) -> None:
    """See that a time series of the target, which is not empty, has buckets of the same origin.

    Args:
        client: the target.
        connection: how the target is reached.
        definition: the time series.
        documents: reads the documents to load into it.

    Raises:
        PyMongoError: the target does not answer.
        UsageError: the time series has none of the buckets to load, or they cannot be compared.
    """
    found = documents(definition)
    if found is None:
        raise UsageError(
            f"{_told(definition)}, and whether these are the same cannot be looked up in an "
            "archive on standard input: restore from a file, add --drop to replace it, or leave it "
            "out"
        )
    is_empty = True
    database = open_database(client, definition.data.database)
    source = retrying(connection)(access_to, client, definition.data)
    for run, count in found:
        if count:
            is_empty = False
            again = retrying(connection)
            if again(read_held, database, source, run, spans(run)):
                return
    if not is_empty:
        raise UsageError(
            f"{_told(definition)}, in none of the buckets that would be loaded: some measurements "
            "may then be there twice; add --drop to replace it, or leave it out"
        )


def _told(definition: Definition) -> str:
    return f"{definition.namespace} is a time series that holds measurements on the target already"


def of_backup(
    archive: Stream | None, reader: Reader, collections: Mapping[Namespace, StoredCollection]
) -> Documents:
    """Return a function that reads the documents of a backup, as far as it is intact.

    Args:
        archive: the archive; None for a backup of files or pieces.
        reader: reads the documents of files or pieces.
        collections: the collections, called as on the target, by their names in the backup.
    """

    def read(definition: Definition) -> Iterator[Batch] | None:
        (name, found), *_others = (
            one for one in collections.items() if one[1].namespace == definition.namespace
        )
        if archive is None:
            return _of_files(reader, found)
        if not archive.can_repeat:
            return None
        return _of_stream(archive.again(), data_namespace(name, found.kind))

    return read


def _of_files(reader: Reader, collection: StoredCollection) -> Iterator[Batch]:
    with suppress(BackupDamagedError):
        for segment in reader.segments(collection, whole=True, lost=[]):
            if segment.place.encoding is Encoding.JSON:
                yield from (ejson.decode(lines).batch for lines in read_lines(segment))
            else:
                yield from reader.batches(segment.place, [])


def _of_stream(again: Stream, data: Namespace) -> Iterator[Batch]:
    with suppress(BackupDamagedError):
        for event in again.blocks(again.find(None)):
            if isinstance(event, Block) and event.namespace == data:
                yield event.batch


def of_server(readers: Sequence[Connection], database: str) -> Documents:
    """Return a function that reads the documents of a database of a server."""

    def read(definition: Definition) -> Iterator[Batch]:
        assert isinstance(definition, Collection)  # noqa: S101 - it is from a catalog
        (chunk,) = planner.cut(replace(definition, database=database), Bounds())
        worker = ServerWorker(*readers)
        try:
            yield from worker.batches(chunk)
        finally:
            worker.close()

    return read
