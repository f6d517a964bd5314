"""Loading documents: whole runs of raw BSON, unordered, and idempotent by `_id`.

An insert of a run costs the client nothing per document. A document whose `_id` collides is
compared with the one that the target holds, and replaced if it differs. A loader that sees mostly
collisions stops inserting and compares first; the outcome is the same.

Reading a document costs the server a fifth of what replacing it does, so a restore over a target
that is nearly right is nearly all reading.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection as Some
from collections.abc import Sequence
from dataclasses import replace

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from fastdump.codec.bson import Batch, Span, id_element, spans, split
from fastdump.errors import ServerError
from fastdump.model import (
    BUCKETS,
    Connection,
    Loaded,
    LoadOptions,
    Namespace,
)
from fastdump.mongo import timestamps
from fastdump.mongo.buckets import smaller
from fastdump.mongo.client import Client, Document
from fastdump.mongo.documents_by_id import identity, shown_id
from fastdump.mongo.doubles import DOUBLED, bare, doubled
from fastdump.mongo.exchange import Exchange
from fastdump.mongo.tally import MIXED_SCHEMA, Tally
from fastdump.mongo.upserts import (
    MAX_RUN_BYTES,
    MAX_RUN_DOCUMENTS,
    has_dollar,
    is_replaceable,
    key_of,
    upserts,
)
from fastdump.mongo.writes import DUPLICATE_KEY, Writer

__all__ = ["MAX_RUN_DOCUMENTS", "Loader", "summed"]

_NOT_BY_UPDATE = frozenset({52, 55})
"""DollarPrefixedFieldName and InvalidDBRef: below the top level, MongoDB 4.4 takes such names when
a document is inserted, but in no update."""

_STRICT: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


class Loader:
    """A loader of documents into one collection, for one thread, which counts the outcome.

    Args:
        client: the server.
        connection: how the server is reached.
        namespace: the collection.
        how: how documents are loaded.
        keeps_empty: whether the server can be told to leave timestamps of zero alone.
        shard_key: the paths of a sharded collection's shard key, without that of `_id`.
        reads_first: look for documents before inserting them, since an insert that is refused
            does harm.
        is_fresh: whether the collection was empty before, so that an `_id` that collides is in the
            source twice.
        is_of_collection: whether the documents are known to have an `_id` each.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        namespace: Namespace,
        how: LoadOptions,
        *,
        keeps_empty: bool,
        shard_key: Sequence[bytes] = (),
        reads_first: bool = False,
        is_fresh: bool = False,
        is_of_collection: bool = True,
    ) -> None:
        self._namespace = namespace
        self._how = how
        self._keeps_empty = keeps_empty
        self._shard_key = shard_key
        # An insert collides only with what is on the shard that it goes to: another shard may hold
        # a document under the same _id.
        self._reads_first = reads_first or bool(shard_key)
        self._writer = Writer(client, connection, namespace, how, keeps_empty=keeps_empty)
        self._exchanger = Exchange(self._writer, shard_key, keeps_empty=keeps_empty)
        self._is_fresh = is_fresh
        self._is_of_collection = is_of_collection
        self._comparing = False
        self._allows_mixed = False
        self.tally = Tally(namespace, stops=how.stop_on_error)

    @property
    def loaded(self) -> Loaded:
        """The outcome so far, with 0 for the time that it took."""
        return replace(self.tally.loaded, interruptions=self._writer.interruptions)

    def load(self, batch: Batch) -> None:
        """Make the collection hold exactly each document of the batch.

        Raises:
            FormatError: the run is not made of documents.
            IncompleteError: a document cannot be written, and the user wants to stop then.
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

    def _checked(self, batch: Batch) -> Batch:
        """Return the documents that can be decoded; the others are counted as rejected."""
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
                self.tally.reject("that cannot be read", str(error))
            else:
                kept.append(document)
        return Batch(b"".join(kept), len(kept))

    def _load(self, run: bytes, count: int, known: list[Span] | None) -> None:
        self.tally.documents += count
        self.tally.raw_bytes += len(run)
        if not self._is_of_collection:
            run, count = self._without_bare(run, known or spans(run))
            known = None
            if not count:
                return
        if not self._keeps_empty and (places := timestamps.likely(run)):
            run, count = self._without_empty(run, known or spans(run), places)
            known = None
            if not count:
                return
        if self._reads_first:
            self._load_what_is_missing(run, count, known or spans(run))
        elif self._comparing:
            # If most documents are new, inserting is better.
            self._comparing = self._reconcile(run, known or spans(run)) > count // 2
        else:
            self._comparing = self._insert(run, count, known) > count // 2

    def _without_bare(self, run: bytes, found: list[Span]) -> Batch:
        """Insert documents without `_id`, which the server gives them; return the others."""
        lacking = bare(run, found)
        if not lacking:
            return Batch(run, len(found))
        self.tally.without_id += len(lacking)
        self._insert(_joined(run, lacking), len(lacking), None)
        return _others(run, found, lacking)

    def _load_what_is_missing(self, run: bytes, count: int, found: list[Span]) -> None:
        """Load documents, inserting only if the target holds nothing under any of their `_id`s."""
        if held := self._writer.read_held(run, found):
            self._reconcile(run, found, held)
        else:
            self._insert(run, count, found)

    def _without_empty(self, run: bytes, found: list[Span], places: list[int]) -> Batch:
        """Load documents with a timestamp of zero, which inserts change; return the others."""
        begins = [start for start, _end in found]
        likely = dict.fromkeys(found[bisect_right(begins, place) - 1] for place in places)
        special = [span for span in likely if timestamps.has_empty(run, span)]
        if not special:
            return Batch(run, len(found))
        self._reconcile(run, special)
        return _others(run, found, special)

    def _insert(self, run: bytes, count: int, known: list[Span] | None) -> int:
        """Insert documents and reconcile those that collide; return how many collided."""
        reply = self._writer.send("insert", run)
        errors = reply.get("writeErrors", [])
        self._account(reply["n"] + len(errors), count)
        self.tally.inserted += reply["n"]
        if not errors:
            return 0
        found = known or spans(run)
        again = self._allowed_now(found, errors)
        collided, twice = [], set[Span]()
        for error in errors:
            span = found[error["index"]]
            if error["code"] == DUPLICATE_KEY and id_element(run, span) is not None:
                collided.append(span)
                if self._is_fresh and list(error.get("keyPattern", ())) == ["_id"]:
                    twice.add(span)
            elif span not in again:
                self.tally.refuse(run, span, error)
        if collided:
            if not self._is_of_collection:
                refused = {found[error["index"]] for error in errors}
                new = {identity(run, span) for span in found if span not in refused}
                twice.update(span for span in collided if identity(run, span) in new)
            self._reconcile(run, collided, twice=twice)
        if again:
            self._insert(_joined(run, list(again)), len(again), None)
        return len(collided)

    def _allowed_now(self, found: Sequence[Span], errors: Sequence[Document]) -> set[Span]:
        """Return the documents that were refused, and that the server accepts from now on.

        These are buckets of measurements of different types. Newer servers accept them only after
        the time series was told, by `collMod`, that it may have such buckets.
        """
        mixed = {found[error["index"]] for error in errors if error["code"] == MIXED_SCHEMA}
        if not mixed or self._allows_mixed:
            return set()
        self._allows_mixed = self._writer.allow_mixed_schema()
        return mixed if self._allows_mixed else set()

    def _reconcile(
        self,
        run: bytes,
        found: Sequence[Span],
        held: set[bytes] | None = None,
        *,
        twice: Some[Span] = (),
    ) -> int:
        """Make the target hold those documents, writing only those that it does not hold yet.

        Args:
            run: documents.
            found: the places of the documents to write.
            held: the documents that the target holds under their `_id`s, if they were read already.
            twice: the documents whose `_id` another document of the source has, which was written.

        Returns:
            How many documents the target held under the same `_id`s.
        """
        if held is None:
            held = self._writer.read_held(run, found)
        found = self._without_doubled(run, found, held, twice)
        wanted = [span for span in found if run[span[0] : span[1]] not in held]
        self.tally.unchanged += len(found) - len(wanted)
        if self._namespace.collection.startswith(BUCKETS):
            wanted = self._without_smaller(run, wanted, held)
        moved = self._moved(run, wanted, held)
        updated = []
        for span in wanted:
            if span in moved:
                old = moved[span]
                self._count(run, span, old, self._exchanger.move(run, span, old))
            elif is_replaceable(run, span):
                updated.append(span)
            else:
                self._exchange(run, span)
        self._upsert(run, updated)
        return len(held)

    def _without_doubled(
        self, run: bytes, found: Sequence[Span], held: set[bytes], twice: Some[Span]
    ) -> Sequence[Span]:
        """Reject documents whose `_id` another one of the source has; return the others."""
        if not (held and self._is_fresh) and not twice and self._is_of_collection:
            return found
        again = doubled(run, found, held, twice, is_fresh=self._is_fresh)
        for span in again:
            self.tally.reject(shown_id(run, span), DOUBLED)
        return [span for span in found if span not in again]

    def _without_smaller(self, run: bytes, found: list[Span], held: set[bytes]) -> list[Span]:
        """Reject buckets of which the target holds more measurements; return the others."""
        refused = smaller(run, found, held)
        for span, reason in refused.items():
            self.tally.reject(
                shown_id(run, span), reason, "a bucket with more measurements on the target"
            )
        return [span for span in found if span not in refused]

    def _moved(self, run: bytes, found: Sequence[Span], held: set[bytes]) -> dict[Span, bytes]:
        """Return documents of the target with the same `_id` and another shard key."""
        if not self._shard_key:
            return {}
        there = {identity(one, (0, len(one))): one for one in held}
        moved = {}
        for span in found:
            old = there.get(identity(run, span))
            if old is not None and key_of(old, (0, len(old)), self._shard_key) != key_of(
                run, span, self._shard_key
            ):
                moved[span] = old
        return moved

    def _upsert(self, run: bytes, found: Sequence[Span]) -> None:
        for batch in upserts(run, found, self._shard_key):
            reply = self._writer.send("update", b"".join(batch.statements))
            errors = reply.get("writeErrors", [])
            self._account(reply["n"] + len(errors), len(batch.statements))
            inserted = len(reply.get("upserted", ()))
            self.tally.inserted += inserted
            self.tally.replaced += reply["nModified"]
            self.tally.unchanged += reply["n"] - inserted - reply["nModified"]
            again = self._allowed_now(batch.spans, errors)
            for error in errors:
                span = batch.spans[error["index"]]
                if span in again:
                    continue
                if error["code"] in _NOT_BY_UPDATE and not has_dollar(run, span):
                    self._exchange(run, span)
                else:
                    self.tally.refuse(run, span, error)
            self._upsert(run, list(again))

    def _exchange(self, run: bytes, span: Span) -> None:
        old, refused = self._exchanger.exchange(run, span)
        self._count(run, span, old, refused)

    def _count(self, run: bytes, span: Span, old: bytes | None, refused: Document | None) -> None:
        if refused is not None:
            self.tally.refuse(run, span, refused)
        elif old is None:
            self.tally.inserted += 1
        else:
            self.tally.replaced += 1

    def _account(self, answered: int, sent: int) -> None:
        if answered != sent:
            raise ServerError(
                f"{self._namespace}: the server answers for {answered} of {sent} documents"
            )


def _joined(run: bytes, found: Sequence[Span]) -> bytes:
    return b"".join(run[start:end] for start, end in found)


def _others(run: bytes, found: Sequence[Span], left_out: Sequence[Span]) -> Batch:
    others = sorted(set(found).difference(left_out))
    return Batch(_joined(run, others), len(others))


def summed(loaders: Sequence[Loader], seconds: float) -> Loaded:
    """Return the outcome of several loaders that worked for so many seconds at the same time."""
    return replace(Loaded.total(loader.loaded for loader in loaders), seconds=seconds)
