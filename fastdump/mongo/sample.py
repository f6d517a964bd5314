"""Sample the `_id`s of a collection, from which bounds are chosen."""

from __future__ import annotations

from collections.abc import Sequence

from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import OperationFailure
from tenacity import RetryCallState, retry, retry_if_exception, retry_if_result, stop_after_attempt

from fastdump.mongo.bucket_access import Access
from fastdump.mongo.client import Document
from fastdump.mongo.cursor import NO_LIMIT

__all__ = ["sample"]

_UNLUCKY = 28799
"""Error code of `$sample` if it met documents that it already had, a hundred times in a row: the
server calls it "likely a sporadic failure"."""


def _is_unlucky(error: BaseException) -> bool:
    return isinstance(error, OperationFailure) and error.code == _UNLUCKY


def _is_empty(sample: Sequence[RawBSONDocument]) -> bool:
    return not sample


def _outcome(last: RetryCallState) -> Sequence[RawBSONDocument]:
    assert last.outcome is not None  # noqa: S101 - it is called after the last attempt
    found: Sequence[RawBSONDocument] = last.outcome.result()
    return found


@retry(
    retry=retry_if_exception(_is_unlucky) | retry_if_result(_is_empty),
    stop=stop_after_attempt(5),
    retry_error_callback=_outcome,
)
def sample(database: Database[Document], source: Access, size: int) -> Sequence[RawBSONDocument]:
    """Return random documents `{_id: …}` of the collection, in order.

    The server's random cursor may find nothing, or the same documents again and again, while the
    storage engine rearranges the collection; then it is asked again.

    Args:
        database: the database.
        source: access to the collection.
        size: the number of documents, which may be fewer.

    Raises:
        PyMongoError: as the driver does, also where the server cannot sample.
    """
    command = {
        **source.command("aggregate"),
        "pipeline": [{"$sample": {"size": size}}, {"$project": {"_id": 1}}, {"$sort": {"_id": 1}}],
        "cursor": {"batchSize": size + 1},
        **NO_LIMIT,
    }
    reply = database.command(command)
    batch: Sequence[RawBSONDocument] = reply["cursor"]["firstBatch"]
    return batch
