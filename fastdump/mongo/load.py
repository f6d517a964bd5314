"""Writing documents: whole runs of raw BSON, unordered, and idempotent by `_id`.

An insert of a run costs the client nothing per document: in an OP_MSG the documents of an
`insert` are simply their bytes one after another, which is what a backup file contains. What
collides is then replaced by the backup's version. A loader that sees mostly collisions stops
inserting and sends upserts from the start; the outcome is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import bson
from bson import json_util
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from fastdump.codec.bson import Batch, Span, document, id_element, spans, split
from fastdump.errors import ServerError
from fastdump.model import LoadedSegment, Rejection
from fastdump.mongo.client import Document

__all__ = ["Loader"]

MAX_RUN_BYTES = 8 * 1024 * 1024
"""No command is larger, unless one document alone is: PyMongo's limit for a command is 16 MiB."""

MAX_RUN_DOCUMENTS = 100_000
"""The server's maxWriteBatchSize."""

MAX_NAMED = 10
"""How many rejected documents a report names."""

_DUPLICATE_KEY = 11000


class _Run(RawBSONDocument):
    """A run of documents that PyMongo sends as if it were one: its `raw` goes out as it stands."""

    def __init__(self, documents: bytes) -> None:
        # Not the base class's: that demands a single document.
        self._documents = documents

    @property
    def raw(self) -> bytes:
        return self._documents


@dataclass
class Loader:
    """Loads documents into one collection and counts what became of them."""

    database: Database[Document]
    collection: str
    write_concern: Document
    documents: int = 0
    raw_bytes: int = 0
    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    _upserting: bool = False

    def load(self, batch: Batch) -> None:
        """Make the collection hold exactly each document of the batch.

        Raises:
            FormatError: the run is not made of documents.
            PyMongoError: as the driver does.
            ServerError: the server does not account for every document.
        """
        run, count = batch
        if not count:
            return
        if count <= MAX_RUN_DOCUMENTS and len(run) <= MAX_RUN_BYTES:
            self._load(run, count, None)
            return
        for start, end, found in split(run, MAX_RUN_BYTES, MAX_RUN_DOCUMENTS):
            self._load(run[start:end], len(found), [(a - start, b - start) for a, b in found])

    def outcome(self, seconds: float) -> LoadedSegment:
        """What became of everything that was loaded."""
        return LoadedSegment(
            self.documents,
            self.raw_bytes,
            seconds,
            self.inserted,
            self.replaced,
            self.unchanged,
            self.rejected,
            tuple(self.rejections),
        )

    def _load(self, run: bytes, count: int, known: list[Span] | None) -> None:
        if self._upserting:
            self._upsert(run, known or spans(run))
        else:
            self._insert(run, count, known)
        self.documents += count
        self.raw_bytes += len(run)

    def _insert(self, run: bytes, count: int, known: list[Span] | None) -> None:
        reply = self._command("insert", "documents", run)
        errors = reply.get("writeErrors", [])
        self._account(reply["n"] + len(errors), count)
        self.inserted += reply["n"]
        if not errors:
            return
        found = known or spans(run)
        collided = [found[error["index"]] for error in errors if error["code"] == _DUPLICATE_KEY]
        for error in errors:
            if error["code"] != _DUPLICATE_KEY:
                self._reject(run, found[error["index"]], error)
        self._upsert(run, collided)
        self._upserting = len(collided) > count // 2

    def _upsert(self, run: bytes, found: Sequence[Span]) -> None:
        for batch in _statements(run, found):
            reply = self._command("update", "updates", b"".join(batch.statements))
            errors = reply.get("writeErrors", [])
            self._account(reply["n"] + len(errors), len(batch.statements))
            inserted = len(reply.get("upserted", ()))
            self.inserted += inserted
            self.replaced += reply["nModified"]
            self.unchanged += reply["n"] - inserted - reply["nModified"]
            for error in errors:
                self._reject(run, batch.spans[error["index"]], error)

    def _command(self, verb: str, field_name: str, run: bytes) -> Document:
        reply = self.database.command(
            {
                verb: self.collection,
                field_name: [_Run(run)],
                "ordered": False,
                "writeConcern": self.write_concern,
            }
        )
        if concern := reply.get("writeConcernError"):
            raise ServerError(
                f"{self.collection}: the server could not confirm a write: {concern['errmsg']}"
            )
        return reply

    def _account(self, answered: int, sent: int) -> None:
        if answered != sent:
            raise ServerError(
                f"{self.collection}: the server answers for {answered} of {sent} documents"
            )

    def _reject(self, run: bytes, span: Span, error: Document) -> None:
        self.rejected += 1
        if len(self.rejections) < MAX_NAMED:
            self.rejections.append(
                Rejection(self.collection, _shown_id(run, span), error.get("errmsg", "no reason"))
            )


@dataclass
class _Upserts:
    statements: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    size: int = 0


def _statements(run: bytes, found: Sequence[Span]) -> Iterator[_Upserts]:
    """Update statements for those documents, in batches that fit a command.

    Each is `{q: {_id: {$eq: …}}, u: document, upsert: true}`, composed from the document's own
    bytes. `$eq`, because an `_id` that is a document with names like `$ref` is no query.
    """
    batch = _Upserts()
    for span in found:
        statement = _statement(run, span)
        if batch.statements and (
            batch.size + len(statement) > MAX_RUN_BYTES
            or len(batch.statements) >= MAX_RUN_DOCUMENTS
        ):
            yield batch
            batch = _Upserts()
        batch.statements.append(statement)
        batch.spans.append(span)
        batch.size += len(statement)
    if batch.statements:
        yield batch


def _statement(run: bytes, span: Span) -> bytes:
    identity = id_element(run, span)
    if identity is None:
        # Only a log of the server's own has such documents; matching nothing inserts it anew.
        raise ServerError(
            "a document without _id cannot be restored twice: leave its collection out"
        )
    equal = document(identity[:1] + b"$eq\0" + identity[5:])
    return document(
        b"\x03q\0" + document(b"\x03_id\0" + equal),
        b"\x03u\0" + run[span[0] : span[1]],
        b"\x08upsert\0\x01",
    )


def _shown_id(run: bytes, span: Span) -> str:
    identity = id_element(run, span)
    if identity is None:
        return "(none)"
    return json_util.dumps(bson.decode(document(identity))["_id"])
