"""Writing a document by delete and insert, where no update can replace what is there."""

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
    """Exchanges documents of one collection; for one thread.

    Args:
        writer: sends the commands.
        shard_key: the paths of a sharded collection's shard key, without that of `_id`.
        keeps_empty: whether the server can be told to leave timestamps of zero alone.
    """

    def __init__(self, writer: Writer, shard_key: Sequence[bytes], *, keeps_empty: bool) -> None:
        self._writer = writer
        self._shard_key = shard_key
        self._keeps_empty = keeps_empty

    def exchange(self, run: bytes, span: Span) -> tuple[bytes | None, Document | None]:
        """Write a document instead of that which the target holds.

        Returns:
            What the target held, and the server's error if the document could not be written.

        Raises:
            PyMongoError: as the driver does.
            ServerError: the server takes neither the document nor what it held before.
        """
        old = next(iter(self._writer.read_held(run, [span])), None)
        refused = None
        if old is None or not self._is_changed_by_insert(run, span):
            # This shows whether anything but the `_id` is in the way, before anything is deleted.
            refused = self._put(run, span)
        if old is not None and (refused is None or refused["code"] == DUPLICATE_KEY):
            refused = self._delete(old) or self._put_instead(run, span, old)
        return old, refused

    def move(self, run: bytes, span: Span, old: bytes) -> Document | None:
        """Write a document whose shard key is another than that of the one which is there.

        Its shard may be another too, so that the one is deleted and the other is inserted, in a
        transaction: between the two it would be there twice, or not at all.

        Returns:
            The server's error, if the document could not be written.

        Raises:
            PyMongoError: as the driver does.
        """
        verb, written = self._as_new(run, span)
        refused = self._writer.move(deletion(old, (0, len(old)), self._shard_key), verb, written)
        return refused if refused is not None and not self._is_held(run, span) else None

    def _delete(self, old: bytes) -> Document | None:
        """Delete that document, and return why it could not be."""
        statement = deletion(old, (0, len(old)), self._shard_key)
        try:
            reply = self._writer.send("delete", statement)
        except OperationFailure as error:
            if passes(error):
                raise
            return dict(error.details or {})
        return _error_of(reply)

    def _put_instead(self, run: bytes, span: Span, old: bytes) -> Document | None:
        """Write a document instead of one that was deleted for it, or else put that back."""
        refused = self._put(run, span)
        if refused is not None and self._put(old, (0, len(old))) is not None:
            raise ServerError(
                f"{self._writer.namespace}: a document was deleted to be replaced, and the server "
                f"takes neither the new nor the old one: {refused['errmsg']}"
            )
        return refused

    def _put(self, run: bytes, span: Span) -> Document | None:
        """Write a document under an `_id` that is not there, and return why it could not be."""
        refused = _error_of(self._writer.send(*self._as_new(run, span)))
        # What is there may be of an attempt before, that seemed to fail.
        return refused if refused is not None and not self._is_held(run, span) else None

    def _as_new(self, run: bytes, span: Span) -> tuple[Verb, bytes]:
        """Return the command that writes a document which is not there, and what it takes."""
        if not self._is_changed_by_insert(run, span):
            return "insert", run[span[0] : span[1]]
        (batch,) = upserts(run, [span], self._shard_key)
        return "update", batch.statements[0]

    def _is_held(self, run: bytes, span: Span) -> bool:
        return run[span[0] : span[1]] in self._writer.read_held(run, [span])

    def _is_changed_by_insert(self, run: bytes, span: Span) -> bool:
        return not self._keeps_empty and timestamps.has_empty(run, span)


def _error_of(reply: Document) -> Document | None:
    """Return the error of a command that wrote a single document."""
    return next(iter(reply.get("writeErrors", ())), None)
