"""Counting what becomes of documents that are loaded, and naming those that are rejected."""

from __future__ import annotations

from collections import Counter

from fastdump.codec.bson import Span
from fastdump.errors import IncompleteError
from fastdump.model import MAX_NAMED, Loaded, Namespace, Rejection
from fastdump.mongo.client import Document
from fastdump.mongo.documents_by_id import shown_id
from fastdump.mongo.writes import DUPLICATE_KEY

__all__ = ["MIXED_SCHEMA", "Tally"]

MIXED_SCHEMA = 408
"""CannotInsertTimeseriesBucketsWithMixedSchema, an error of the server."""

_KINDS = {
    52: "a name that begins with a dollar, which this server does not store",
    61: "a shard key that nobody knows here: the user needs the right to read config.collections",
    121: "the collection's validator",
    DUPLICATE_KEY: "a unique index on another field",
    MIXED_SCHEMA: "values of different types in one bucket, which takes the right to run collMod",
    10334: "a document that is too large",
    17280: "a value that is too large for an index",
    17419: "a document that is too large",
}
"""The reason for a rejection, by the code of the server's error; source: its error_codes.yml."""


class Tally:
    """The outcome of loading documents into one collection, as far as it has come.

    Args:
        namespace: the collection.
        stops: whether the first document that cannot be written is the end.
    """

    def __init__(self, namespace: Namespace, *, stops: bool) -> None:
        self._namespace = namespace
        self._stops = stops
        self.documents = 0
        self.raw_bytes = 0
        self.inserted = 0
        self.replaced = 0
        self.unchanged = 0
        self.without_id = 0
        self._rejected = 0
        self._rejections: list[Rejection] = []
        self._reasons = Counter[str]()

    @property
    def loaded(self) -> Loaded:
        """Return all of it, without the time and the interruptions, which are not counted here."""
        return Loaded(
            documents=self.documents,
            raw_bytes=self.raw_bytes,
            seconds=0.0,
            inserted=self.inserted,
            replaced=self.replaced,
            unchanged=self.unchanged,
            rejected=self._rejected,
            rejections=tuple(self._rejections),
            reasons=self._reasons,
            without_id=self.without_id,
        )

    def reject(self, document: str, reason: str, kind: str | None = None) -> None:
        """Count a document that could not be written.

        Args:
            document: which, for people.
            reason: why.
            kind: the name under which such reasons are counted; None is the reason itself.

        Raises:
            IncompleteError: the first such document is to be the end.
        """
        if self._stops:
            raise IncompleteError(f"{self._namespace}: document {document}: {reason}; stopped")
        self._rejected += 1
        self._reasons[kind or reason] += 1
        if len(self._rejections) < MAX_NAMED:
            self._rejections.append(Rejection(self._namespace, document, reason))

    def refuse(self, run: bytes, span: Span, error: Document) -> None:
        """Count a document of a run that the server refused with that error.

        Raises:
            IncompleteError: the first such document is to be the end.
        """
        reason = error.get("errmsg", "no reason")
        kind = _KINDS.get(error.get("code", 0), f"error {error.get('code')} of the server")
        self.reject(shown_id(run, span), reason, kind)
