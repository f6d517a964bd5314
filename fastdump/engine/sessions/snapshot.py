"""Reading a replica set as it was at one moment, which the server shows for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from collections.abc import Collection as Some
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

from fastdump.engine.sessions.plain import ReadContext, Session
from fastdump.errors import (
    CollectionChangedError,
    FastdumpError,
    IncompleteError,
    SnapshotUnavailableError,
    UsageError,
)
from fastdump.model import (
    Catalog,
    Chunk,
    ClusterTime,
    Collection,
    Connection,
    Consistency,
    Namespace,
    ReadOptions,
)
from fastdump.mongo import snapshot
from fastdump.mongo.catalog import read_definitions
from fastdump.mongo.client import Client, connect, translated
from fastdump.mongo.retry import retrying

__all__ = ["SnapshotSession"]

T = TypeVar("T")

_ATTEMPTS = 5
"""How often to look for a moment at which the catalog is what was planned."""

_FASTEST = 500e6
"""Bytes of documents a second that nothing exceeded yet: what would take too long even so is not
begun. What is really read decides later."""

_TRIES = 3
"""How many collections to try to read at the moment before it is given up."""

_LOOK_AFTER_SECONDS = 10
_LATEST_LOOK = 0.1
"""Of the history, where that is short."""

_DOUBT = 1.2
"""An estimate must exceed the history by so much before anything is given up for it."""

_CAUTION = 0.8
"""But the history is raised earlier, and to twice as much as is expected."""


class SnapshotSession(Session):
    """All documents are read as they were at one moment, which is taken when the plan is made.

    Args:
        context: the server, the part of it that is read, and who reads it.
        how: whether the server's history may be raised, and how fast it is read.
    """

    mode = "snapshot"

    def __init__(self, context: ReadContext, how: ReadOptions) -> None:
        super().__init__(context)
        self._how = how
        self._began = 0.0
        """When this run began to read, on the monotonic clock."""
        self._age = 0.0
        """How many seconds before that the moment was; more, where another run began."""
        self._kept: int | None = None
        """Seconds that the least of the servers keeps."""
        self._is_assumed = False
        """Whether one of them does not say."""
        self._before: dict[Connection, int] = {}
        """The same of each, before it was raised."""
        self._of_later: set[Namespace] = set()
        """Capped collections that the server does not show as they were, as from 8.0 on it does."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put back for how long the servers keep their history."""
        failures = []
        for connection, seconds in self._before.items():
            try:
                with connect(connection) as client, translated(connection):
                    retrying(connection)(snapshot.keep_history, client, seconds)
            except FastdumpError as failure:
                failures.append(f"{failure}; put it back by hand: {_by_hand(connection, seconds)}")
        if failures and not isinstance(error, KeyboardInterrupt | SystemExit):
            before = f"{error}; and " if error else ""
            raise IncompleteError(
                f"{before}{snapshot.WINDOW} is still raised: {'; '.join(failures)}"
            )

    def plan(self) -> tuple[Catalog, list[Chunk]]:
        """What there was at a moment that is taken now, and in which chunks to read it."""
        for _attempt in range(_ATTEMPTS):
            catalog, chunks = super().plan()
            with translated(self.readers[0]):
                self.at = at = self._asked(snapshot.now)
                # A collection is its UUID. What was there before and after was there at the moment.
                after = retrying(self.readers[0])(read_definitions, self.client, self.selection)
                self._start(catalog)
            if _defined(catalog) == after:
                break
        there = {(one.namespace, one.uuid) for one in after}
        kept = [one for one in catalog.collections if (one.namespace, one.uuid) in there]
        uuids = {one.namespace: one.uuid for one in kept}
        return replace(catalog, collections=tuple(kept)), [
            chunk
            if chunk.namespace in self._of_later
            else replace(chunk, source=replace(chunk.source, at=at, uuid=uuids[chunk.namespace]))
            for chunk in chunks
            if chunk.namespace in uuids
        ]

    def is_settled(self, collection: Collection) -> bool:
        """All that is read at the moment is."""
        return collection.namespace not in self._of_later

    def count_all(self, collection: Collection) -> int | None:
        """Count the documents of a collection at the moment, as long as the server shows that."""
        return self._count_at(collection, self.at if self.is_settled(collection) else None)

    def resumes(self, at: ClusterTime | None, catalog: Catalog) -> bool:
        """Whether the moment of another run can still be read."""
        if at is None or not super().resumes(at, catalog):
            return False
        try:
            with translated(self.readers[0]):
                self._start(catalog)
        except SnapshotUnavailableError:
            return False
        return True

    def check(self, documents: int, raw_bytes: int) -> None:  # noqa: ARG002
        """Give up, or raise the history, as soon as it is clear that it will not suffice."""
        if self._kept is None or not raw_bytes:
            return
        took = time.monotonic() - self._began
        if took > min(_LOOK_AFTER_SECONDS, _LATEST_LOOK * self._kept):
            self._need(self._age + took * max(self.expected, raw_bytes) / raw_bytes)

    def finish(self, catalog: Catalog, gone: Some[Namespace]) -> tuple[Catalog, Consistency]:
        """All of it is of the moment; what was dropped before it was read is left out."""
        assert self.at is not None  # noqa: S101 - a plan was made
        went, made = self.changes(catalog)
        for name in gone:
            if "dropped" not in went.get(name, ""):
                raise CollectionChangedError(
                    f"{name} was {went.get(name, 'changed')} during the backup, and cannot be read "
                    "any more as it was; run the same command again"
                )
        kept = tuple(one for one in catalog.collections if one.namespace not in gone)
        of_later = sorted(self._of_later.intersection(one.namespace for one in kept))
        for name, what in went.items():
            meaning = "and is in it"
            if name in gone:
                meaning = "before it was read, and is not in it"
            elif name in of_later:
                meaning = "which may hold only a part of it"
            self.notes.append(f"{name} was {what} during the backup, {meaning}")
        self.notes += [f"{name} was made during the backup and is not in it" for name in made]
        self.notes += [
            f"{name} is capped, and this server does not show such as they were: what is in the "
            "backup of it is of later than the rest"
            for name in of_later
        ]
        return replace(catalog, collections=kept), Consistency(
            self.mode, self.at.moment, self.at, tuple(map(str, of_later))
        )

    def _asked(self, ask: Callable[[Client], T]) -> T:
        """Return what the first of the servers says."""
        return retrying(self.readers[0])(ask, self.client)

    def _start(self, catalog: Catalog) -> None:
        """See that the moment can be read, and for how long."""
        assert self.at is not None  # noqa: S101 - it was just taken
        self._age = self._asked(snapshot.now).seconds - self.at.seconds
        self._began = time.monotonic()
        self.clock = self._asked(snapshot.read_clock)
        self._see_that_it_is_shown(catalog, self.at)
        if self._kept is None:
            kept = self.of_each(snapshot.history_seconds)
            if None in kept and self._how.raise_snapshot_window:
                raise UsageError(
                    "--raise-snapshot-window needs a user who may read and set parameters of "
                    f"{self.readers[0].shown}, as with the roles clusterMonitor and hostManager, "
                    "and no mongos between"
                )
            self._is_assumed = None in kept
            self._kept = min(snapshot.ASSUMED_SECONDS if one is None else one for one in kept)
        self._need(catalog.raw_bytes / min(_FASTEST, (self._how.max_rate or math.inf) * 1e6))

    def _see_that_it_is_shown(self, catalog: Catalog, at: ClusterTime) -> None:
        """Read at the moment from each server, and note which capped collections are not shown."""
        held = [one for one in catalog.collections if one.uuid is not None]
        refusals = {one.namespace: self._refusal(one.data, at) for one in held if one.capped}
        self._of_later = {name for name, refusal in refusals.items() if refusal is not None}
        # One of the others may have been changed just now, so that only its present is shown.
        names = [one.data for one in held if not one.capped][:_TRIES]
        if not held:
            names = [Namespace(catalog.collections[0].database, snapshot.NO_COLLECTION)]
        for name in names:
            refusals[name] = self._refusal(name, at)
            if refusals[name] is None:
                break
        if None not in refusals.values():
            name, refusal = refusals.popitem()
            raise SnapshotUnavailableError(
                f"{self.readers[0].shown} does not show how {name} was at {at}: {refusal}"
            )

    def _refusal(self, name: Namespace, at: ClusterTime) -> str | None:
        """Return why one of the servers does not show a collection as it was."""

        def ask(client: Client) -> str | None:
            if self.clock is not None:
                snapshot.advance_clock(client, self.clock)
            if (refusal := snapshot.refusal_at(client, name, at)) is not None:
                return refusal
            if snapshot.ignores_moments(client, name):
                return "it accepts any moment, even one of 1970, and reads what there is now"
            return None

        return next((one for one in self.of_each(ask) if one is not None), None)

    def _need(self, seconds: float) -> None:
        """See that the servers keep their history for so long."""
        may_raise = self._how.raise_snapshot_window
        if self._kept is None or seconds < self._kept * (_CAUTION if may_raise else _DOUBT):
            return
        if not may_raise:
            keeps = f"keeps its history for {self._kept:,} s only ({snapshot.WINDOW})"
            if self._is_assumed:
                keeps = (
                    f"does not say for how long it keeps its history: {self._kept:,} s are assumed "
                    f"({snapshot.WINDOW})"
                )
            raise SnapshotUnavailableError(
                f"reading takes about {seconds:,.0f} s, and {self.readers[0].shown} {keeps}: have "
                "it raised meanwhile with --raise-snapshot-window, or use --consistency oplog, or "
                "none"
            )
        self._raise(math.ceil(2 * seconds) + 1)

    def _raise(self, seconds: int) -> None:
        kept = self.of_each(snapshot.history_seconds)
        for connection, now in zip(self.readers, kept, strict=True):
            before = self._before.get(connection, now)
            if before is None or before >= seconds:
                continue
            self.reporter.note(
                f"{connection.shown} keeps its history for {seconds:,} s until this has ended; if "
                f"fastdump is killed, put it back: {_by_hand(connection, before)}"
            )
            # Before it is raised, so that whatever interrupts this, it is put back.
            self._before[connection] = before
            try:
                with connect(connection) as client, translated(connection):
                    snapshot.keep_history(client, seconds)
            except FastdumpError:
                del self._before[connection]
                raise
        self._kept = seconds


def _defined(catalog: Catalog) -> tuple[Collection, ...]:
    """Without what changes with every document."""
    return tuple(replace(one, documents=0, raw_bytes=0) for one in catalog.collections)


def _by_hand(connection: Connection, seconds: int) -> str:
    where = connection.member or connection.shown
    return f"db.adminCommand({{setParameter: 1, {snapshot.WINDOW}: {seconds}}}) on {where}"
