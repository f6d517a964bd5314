"""Replace a document by delete and insert, for cases in which no update can do it."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo.errors import OperationFailure

from fastdump.codec.bson import Span
from fastdump.errors import ServerError
from fastdump.mongo import timestamps
from fastdump.mongo.client import Document
from fastdump.mongo.retry import passes
from fastdump.mongo.upserts import deletion, upserts
from fastdump.mongo.writes import DUPLICATE_KEY, Verb, Writer

__all__ = ["Exchange"]


class Exchange:
    """Replacer of documents in one collection, by delete and insert; for one thread.

    Args:
        writer: the writer that sends the commands.
        shard_key: the paths of a sharded collection's shard key, without `_id`.
        keeps_empty: True if the server can be told to leave timestamps of zero unchanged.
    """

    def __init__(self, writer: Writer, shard_key: Sequence[bytes], *, keeps_empty: bool) -> None:
        self._writer = writer
        self._shard_key = shard_key
        self._keeps_empty = keeps_empty

    def exchange(self, run: bytes, span: Span) -> tuple[bytes | None, Document | None]:
        """Replace the target's document by another one with the same `_id`.

        Returns:
            The target's old document, if any, and the server's error if the new one could not be
            written.

        Raises:
            PyMongoError: as the driver does.
            ServerError: the server accepts neither the new document nor the old one again.
        """
        old = next(iter(self._writer.read_held(run, [span])), None)
        refused = None
        if old is None or not self._is_changed_by_insert(run, span):
            # Try it first: an error other than the `_id` must show before anything is deleted.
            refused = self._put(run, span)
        if old is not None and (refused is None or refused["code"] == DUPLICATE_KEY):
            refused = self._delete(old) or self._put_instead(run, span, old)
        return old, refused

    def move(self, run: bytes, span: Span, old: bytes) -> Document | None:
        """Replace a document by one with another value of the shard key.

        The new one may belong to another shard. So the old one is deleted and the new one inserted
        in a transaction; otherwise both or none would exist between the two commands.

        Returns:
            The server's error, if the document could not be written.

        Raises:
            PyMongoError: as the driver does.
        """
        verb, written = self._as_new(run, span)
        refused = self._writer.move(deletion(old, (0, len(old)), self._shard_key), verb, written)
        return refused if refused is not None and not self._is_held(run, span) else None

    def _delete(self, old: bytes) -> Document | None:
        """Delete a document; return the server's error, or None."""
        statement = deletion(old, (0, len(old)), self._shard_key)
        try:
            reply = self._writer.send("delete", statement)
        except OperationFailure as error:
            if passes(error):
                raise
            return dict(error.details or {})
        return _error_of(reply)

    def _put_instead(self, run: bytes, span: Span, old: bytes) -> Document | None:
        """Write a document in place of a deleted one; if that fails, write the old one again."""
        refused = self._put(run, span)
        if refused is not None and self._put(old, (0, len(old))) is not None:
            raise ServerError(
                f"{self._writer.namespace}: a document was deleted to be replaced, and the server "
                f"accepts neither the new document nor the old one: {refused['errmsg']}"
            )
        return refused

    def _put(self, run: bytes, span: Span) -> Document | None:
        """Write a document whose `_id` does not exist yet; return the server's error, or None."""
        refused = _error_of(self._writer.send(*self._as_new(run, span)))
        # The document may be there from an earlier attempt that only seemed to fail.
        return refused if refused is not None and not self._is_held(run, span) else None

    def _as_new(self, run: bytes, span: Span) -> tuple[Verb, bytes]:
        """Return the command that writes a new document, and its document or statement."""
        if not self._is_changed_by_insert(run, span):
            return "insert", run[span[0] : span[1]]
        (batch,) = upserts(run, [span], self._shard_key)
        return "update", batch.statements[0]

    def _is_held(self, run: bytes, span: Span) -> bool:
        return run[span[0] : span[1]] in self._writer.read_held(run, [span])

    def _is_changed_by_insert(self, run: bytes, span: Span) -> bool:
        return not self._keeps_empty and timestamps.has_empty(run, span)


def _error_of(reply: Document) -> Document | None:
    """Return the error in the reply to the write of a single document, or None."""
    return next(iter(reply.get("writeErrors", ())), None)
