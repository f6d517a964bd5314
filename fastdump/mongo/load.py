"""Writing documents: whole runs of raw BSON, unordered, and idempotent by `_id`.

An insert of a run costs the client nothing per document: in an OP_MSG the documents of an
`insert` are simply their bytes one after another, which is what a backup file contains. What
collides is compared with what the target holds, and replaced where it differs. A loader that sees
mostly collisions stops inserting and compares from the start; the outcome is the same.

Reading costs the server a fifth of what replacing does, also by itself, so a restore over a target
that is nearly right is nearly all reading.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import bson
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect

from fastdump.codec.bson import Batch, Span, document, id_element, spans, split
from fastdump.errors import IncompleteError, ServerError
from fastdump.model import Connection, Loaded, LoadOptions, Namespace, Rejection
from fastdump.mongo import timestamps
from fastdump.mongo.client import Client, Document, open_database, write_concern
from fastdump.mongo.held import ID_VALUE, identity, read_held
from fastdump.mongo.retry import WILL_PASS, retrying

__all__ = ["MAX_NAMED", "MAX_RUN_DOCUMENTS", "Loader", "shown_id", "summed"]

MAX_RUN_BYTES = 8 * 1024 * 1024
"""No command is larger, unless one document alone is: PyMongo's limit for a command is 16 MiB."""

MAX_RUN_DOCUMENTS = 100_000
"""The server's maxWriteBatchSize."""

MAX_NAMED = 10
"""How many rejected documents a report names."""

_DUPLICATE_KEY = 11000
_KINDS = {
    121: "the collection's validator",
    _DUPLICATE_KEY: "a unique index on another field",
    10334: "a document that is too large",
    17280: "a value that is too large for an index",
    17419: "a document that is too large",
}
"""What errors of the server's mean for a document; source: its error_codes.yml."""

_STRICT: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


class _Run(RawBSONDocument):
    """A run of documents that PyMongo sends as if it were one: its `raw` goes out as it stands."""

    def __init__(self, documents: bytes) -> None:
        # Not the base class's: that demands a single document.
        self._documents = documents

    @property
    def raw(self) -> bytes:
        return self._documents


class Loader:
    """Loads documents into one collection and counts what became of them; for one thread.

    Args:
        client: the server.
        connection: how it is reached.
        namespace: the collection.
        how: what the user wants.
        keeps_empty: whether the server can be told to leave timestamps of zero alone.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        namespace: Namespace,
        how: LoadOptions,
        *,
        keeps_empty: bool,
    ) -> None:
        self._connection = connection
        self._database = open_database(client, namespace.database)
        self._namespace = namespace
        self._how = how
        self._keeps_empty = keeps_empty
        self._options: Document = {
            "ordered": False,
            "writeConcern": write_concern(client, how.write_concern),
            **({"bypassDocumentValidation": True} if how.bypass_validation else {}),
            **({timestamps.KEEP: True} if keeps_empty else {}),
        }
        self._comparing = False
        self.documents = 0
        self.raw_bytes = 0
        self.inserted = 0
        self.replaced = 0
        self.unchanged = 0
        self.rejected = 0
        self.interruptions = 0
        self.rejections: list[Rejection] = []
        self.reasons = Counter[str]()

    def load(self, batch: Batch) -> None:
        """Make the collection hold exactly each document of the batch.

        Raises:
            FormatError: the run is not made of documents.
            IncompleteError: a document cannot be written, and that is to be the end.
            PyMongoError: as the driver does.
            ServerError: the server does not account for every document.
        """
        run, count = self._checked(batch) if self._how.check_documents else batch
        if not count:
            return
        if count <= MAX_RUN_DOCUMENTS and len(run) <= MAX_RUN_BYTES:
            self._load(run, count, None)
            return
        for start, end, found in split(run, MAX_RUN_BYTES, MAX_RUN_DOCUMENTS):
            self._load(run[start:end], len(found), [(a - start, b - start) for a, b in found])

    def reject(self, document: str, reason: str, kind: str | None = None) -> None:
        """Count a document that could not be written.

        Args:
            document: which.
            reason: why, as it is told.
            kind: what such reasons are counted as, where that is not the reason itself.
        """
        if self._how.stop_on_error:
            raise IncompleteError(f"{self._namespace}: document {document}: {reason}; stopped")
        self.rejected += 1
        self.reasons[kind or reason] += 1
        if len(self.rejections) < MAX_NAMED:
            self.rejections.append(Rejection(self._namespace, document, reason))

    def _checked(self, batch: Batch) -> Batch:
        """Without what cannot be decoded, which is counted as rejected."""
        try:
            bson.decode_all(batch.data, _STRICT)
        except BSONError:
            return self._sorted_out(batch)
        return batch

    def _sorted_out(self, batch: Batch) -> Batch:
        kept = []
        for start, end in spans(batch.data):
            document = batch.data[start:end]
            try:
                bson.decode(document, _STRICT)
            except BSONError as error:
                self.reject("that cannot be read", str(error))
            else:
                kept.append(document)
        return Batch(b"".join(kept), len(kept))

    def _load(self, run: bytes, count: int, known: list[Span] | None) -> None:
        self.documents += count
        self.raw_bytes += len(run)
        if not self._keeps_empty and (places := timestamps.likely(run)):
            run, count = self._without_empty(run, known or spans(run), places)
            known = None
            if not count:
                return
        if self._comparing:
            # Mostly new documents are better inserted.
            self._comparing = self._reconcile(run, known or spans(run)) > count // 2
        else:
            self._comparing = self._insert(run, count, known) > count // 2

    def _without_empty(self, run: bytes, found: list[Span], places: list[int]) -> Batch:
        """Load what has a timestamp of zero, which an insert would replace; returns the others."""
        begins = [start for start, _end in found]
        likely = dict.fromkeys(found[bisect_right(begins, place) - 1] for place in places)
        special = [span for span in likely if timestamps.has_empty(run, span)]
        if not special:
            return Batch(run, len(found))
        self._reconcile(run, special)
        left_out = set(special)
        others = [span for span in found if span not in left_out]
        return Batch(b"".join(run[start:end] for start, end in others), len(others))

    def _insert(self, run: bytes, count: int, known: list[Span] | None) -> int:
        """Insert documents and reconcile those that collide; returns how many did."""
        reply = self._command("insert", "documents", run)
        errors = reply.get("writeErrors", [])
        self._account(reply["n"] + len(errors), count)
        self.inserted += reply["n"]
        if not errors:
            return 0
        found = known or spans(run)
        collided = [found[error["index"]] for error in errors if error["code"] == _DUPLICATE_KEY]
        for error in errors:
            if error["code"] != _DUPLICATE_KEY:
                self._reject(run, found[error["index"]], error)
        if collided:
            self._reconcile(run, collided)
        return len(collided)

    def _reconcile(self, run: bytes, found: Sequence[Span]) -> int:
        """Make the target hold those documents, writing only what it does not hold yet.

        Returns:
            How many documents the target held under the same `_id`s.
        """
        held = self._held(run, found)
        wanted = [span for span in found if run[span[0] : span[1]] not in held]
        self.unchanged += len(found) - len(wanted)
        if wanted:
            self._upsert(run, wanted)
        return len(held)

    def _held(self, run: bytes, found: Sequence[Span]) -> set[bytes]:
        """The documents that the target has under the same `_id`s, whole."""
        again = retrying(self._connection, self._interrupted)
        return again(read_held, self._database, self._namespace.collection, run, found)

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
        command = {verb: self._namespace.collection, field_name: [_Run(run)], **self._options}
        # To send it again is harmless: what is there already is compared.
        for attempt in retrying(self._connection, self._interrupted):
            with attempt:
                reply = self._database.command(command)
                concern = reply.get("writeConcernError")
                if concern and concern.get("code") in WILL_PASS:
                    raise AutoReconnect(concern["errmsg"])
        if concern:
            raise ServerError(
                f"{self._namespace}: the server could not confirm a write: {concern['errmsg']}"
            )
        return reply

    def _interrupted(self, _error: Exception) -> None:
        self.interruptions += 1

    def _account(self, answered: int, sent: int) -> None:
        if answered != sent:
            raise ServerError(
                f"{self._namespace}: the server answers for {answered} of {sent} documents"
            )

    def _reject(self, run: bytes, span: Span, error: Document) -> None:
        reason = error.get("errmsg", "no reason")
        kind = _KINDS.get(error.get("code", 0), f"error {error.get('code')} of the server")
        self.reject(shown_id(run, span), reason, kind)


@dataclass
class _Upserts:
    statements: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    size: int = 0


def _statements(run: bytes, found: Sequence[Span]) -> Iterator[_Upserts]:
    """Update statements for those documents, in batches that fit a command.

    Each is `{q: {_id: {$eq: …}}, u: document, upsert: true}`, composed from the document's own
    bytes. `$eq`, because an `_id` that is a document with names like `$ref` is no query. A document
    with a timestamp of zero is a literal of a pipeline, where the server leaves it as it is.
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
    own = identity(run, span)
    equal = document(own[:1] + b"$eq\0" + own[ID_VALUE:])
    return document(
        b"\x03q\0" + document(b"\x03_id\0" + equal),
        _replacement(run, span),
        b"\x08upsert\0\x01",
    )


def _replacement(run: bytes, span: Span) -> bytes:
    whole = run[span[0] : span[1]]
    if not timestamps.has_empty(run, span):
        return b"\x03u\0" + whole
    stage = document(b"\x03$replaceWith\0" + document(b"\x03$literal\0" + whole))
    return b"\x04u\0" + document(b"\x030\0" + stage)


def shown_id(run: bytes, span: Span) -> str:
    """The `_id` of a document, for people."""
    found = id_element(run, span)
    if found is None:
        return "(none)"
    return json_util.dumps(bson.decode(document(found))["_id"])


def summed(loaders: Sequence[Loader], seconds: float) -> Loaded:
    """What became of everything that those loaders loaded, in so many seconds together."""
    rejections = [rejection for loader in loaders for rejection in loader.rejections]
    return Loaded(
        documents=sum(loader.documents for loader in loaders),
        raw_bytes=sum(loader.raw_bytes for loader in loaders),
        seconds=seconds,
        inserted=sum(loader.inserted for loader in loaders),
        replaced=sum(loader.replaced for loader in loaders),
        unchanged=sum(loader.unchanged for loader in loaders),
        rejected=sum(loader.rejected for loader in loaders),
        rejections=tuple(rejections[:MAX_NAMED]),
        reasons=sum((loader.reasons for loader in loaders), Counter[str]()),
        interruptions=sum(loader.interruptions for loader in loaders),
    )
