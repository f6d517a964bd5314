"""The session of `--consistency snapshot`: read a replica set as it was at one moment.

The server keeps the history that this needs for a limited time, the snapshot window.
"""

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
"""Number of attempts to find a moment at which the catalog is still the one that was planned."""

_FASTEST = 500e6
"""Speed of reading that was never exceeded, in bytes of documents a second. A backup that would be
too slow even at this speed does not begin; later the measured speed decides."""

_TRIES = 3
"""Number of collections to try to read at the moment before giving up."""

_LOOK_AFTER_SECONDS = 10
"""Seconds of reading before its speed is used for an estimate."""
_LATEST_LOOK = 0.1
"""The same as a fraction of the snapshot window, which applies if the window is short."""

_DOUBT = 1.2
"""Give up only when the estimated time exceeds the snapshot window by 20 %."""

_CAUTION = 0.8
"""Raise the window as soon as the estimated time exceeds 80 % of it (to twice the estimate)."""


class SnapshotSession(Session):
    """Session that reads all documents as they were at one moment, that of the plan.

    Args:
        context: the server, the selection, and the readers.
        how: the options of reading: may the snapshot window be raised, and how fast to read.
    """

    mode = "snapshot"

    def __init__(self, context: ReadContext, how: ReadOptions) -> None:
        super().__init__(context)
        self._how = how
        self._began = 0.0
        """Time at which this run began to read, on the monotonic clock."""
        self._age = 0.0
        """Seconds between the snapshot's moment and `_began`; many if an earlier run took it."""
        self._kept: int | None = None
        """Snapshot window in seconds: the shortest of all readers."""
        self._is_assumed = False
        """True if a reader does not tell its window, so that the default is assumed."""
        self._before: dict[Connection, int] = {}
        """Window in seconds of each reader before it was raised."""
        self._of_later: set[Namespace] = set()
        """Capped collections that cannot be read in the snapshot, as before MongoDB 8.0."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Set the snapshot window of each server back to what it was."""
        failures = []
        for connection, seconds in self._before.items():
            try:
                with connect(connection) as client, translated(connection):
                    retrying(connection)(snapshot.keep_history, client, seconds)
            except FastdumpError as failure:
                failures.append(f"{failure}; to set it back, run {_by_hand(connection, seconds)}")
        if failures and not isinstance(error, KeyboardInterrupt | SystemExit):
            before = f"{error}; and " if error else ""
            raise IncompleteError(
                f"{before}{snapshot.WINDOW} is still raised: {'; '.join(failures)}"
            )

    def plan(self) -> tuple[Catalog, list[Chunk]]:
        """Take a moment, and return the catalog at that moment and the chunks."""
        for _attempt in range(_ATTEMPTS):
            catalog, chunks = super().plan()
            with translated(self.readers[0]):
                self.at = at = self._asked(snapshot.now)
                # A collection that had the same UUID before and after existed at the moment.
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
        """Return True for every collection that is read at the moment."""
        return collection.namespace not in self._of_later

    def count_all(self, collection: Collection) -> int | None:
        """Count the documents of a collection, at the moment if it can be read at that."""
        return self._count_at(collection, self.at if self.is_settled(collection) else None)

    def resumes(self, at: ClusterTime | None, catalog: Catalog) -> bool:
        """Return True if the moment of the earlier run can still be read."""
        if at is None or not super().resumes(at, catalog):
            return False
        try:
            with translated(self.readers[0]):
                self._start(catalog)
        except SnapshotUnavailableError:
            return False
        return True

    def check(self, documents: int, raw_bytes: int) -> None:  # noqa: ARG002
        """Give up, or raise the window, as soon as the window is clearly too short."""
        if self._kept is None or not raw_bytes:
            return
        took = time.monotonic() - self._began
        if took > min(_LOOK_AFTER_SECONDS, _LATEST_LOOK * self._kept):
            self._need(self._age + took * max(self.expected, raw_bytes) / raw_bytes)

    def finish(self, catalog: Catalog, gone: Some[Namespace]) -> tuple[Catalog, Consistency]:
        """Return the catalog without collections that were dropped before they were read."""
        assert self.at is not None  # noqa: S101 - a plan was made
        went, made = self.changes(catalog)
        for name in gone:
            if "dropped" not in went.get(name, ""):
                raise CollectionChangedError(
                    f"{name} was {went.get(name, 'changed')} while the server was read, so it can "
                    "no longer be read as it was; run the same command again"
                )
        kept = tuple(one for one in catalog.collections if one.namespace not in gone)
        of_later = sorted(self._of_later.intersection(one.namespace for one in kept))
        for name, what in went.items():
            meaning = "and is included"
            if name in gone:
                meaning = "before its turn, and is left out"
            elif name in of_later:
                meaning = "so only a part of it may be included"
            self.notes.append(f"{name} was {what} while the server was read, {meaning}")
        self.notes += [
            f"{name} was created while the server was read, and is left out" for name in made
        ]
        self.notes += [
            f"{name} is capped, and this server cannot read capped collections in a snapshot: its "
            "documents are of a later moment than the rest"
            for name in of_later
        ]
        return replace(catalog, collections=kept), Consistency(
            self.mode, self.at.moment, self.at, tuple(map(str, of_later))
        )

    def _asked(self, ask: Callable[[Client], T]) -> T:
        """Ask the first of the readers, and return its answer."""
        return retrying(self.readers[0])(ask, self.client)

    def _start(self, catalog: Catalog) -> None:
        """Check that the moment can be read, and that the window is long enough."""
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
                    f"{self.readers[0].shown} (roles clusterMonitor and hostManager), and a direct "
                    "connection without mongos"
                )
            self._is_assumed = None in kept
            self._kept = min(snapshot.ASSUMED_SECONDS if one is None else one for one in kept)
        self._need(catalog.raw_bytes / min(_FASTEST, (self._how.max_rate or math.inf) * 1e6))

    def _see_that_it_is_shown(self, catalog: Catalog, at: ClusterTime) -> None:
        """Try to read at the moment from each server, and note which capped collections fail."""
        held = [one for one in catalog.collections if one.uuid is not None]
        refusals = {one.namespace: self._refusal(one.data, at) for one in held if one.capped}
        self._of_later = {name for name, refusal in refusals.items() if refusal is not None}
        # A collection whose indexes or options were just changed cannot be read in the past: so
        # one failure says nothing, and others are tried.
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
                f"{self.readers[0].shown} cannot read {name} as it was at {at}: {refusal}"
            )

    def _refusal(self, name: Namespace, at: ClusterTime) -> str | None:
        """Return why one of the servers cannot read a collection at the moment, or None."""

        def ask(client: Client) -> str | None:
            if self.clock is not None:
                snapshot.advance_clock(client, self.clock)
            if (refusal := snapshot.refusal_at(client, name, at)) is not None:
                return refusal
            if snapshot.ignores_moments(client, name):
                return "it accepts any time, even one of 1970, and always reads the present"
            return None

        return next((one for one in self.of_each(ask) if one is not None), None)

    def _need(self, seconds: float) -> None:
        """Check that the snapshot window is long enough for a reading of so many seconds."""
        may_raise = self._how.raise_snapshot_window
        if self._kept is None or seconds < self._kept * (_CAUTION if may_raise else _DOUBT):
            return
        if not may_raise:
            keeps = f"keeps its history for only {self._kept:,} s ({snapshot.WINDOW})"
            if self._is_assumed:
                keeps = (
                    f"does not tell how long it keeps its history: {self._kept:,} s are assumed "
                    f"({snapshot.WINDOW})"
                )
            raise SnapshotUnavailableError(
                f"reading takes about {seconds:,.0f} s, and {self.readers[0].shown} {keeps}: use "
                "--raise-snapshot-window, which keeps more of it meanwhile, or --consistency "
                "oplog, or --consistency none"
            )
        self._raise(math.ceil(2 * seconds) + 1)

    def _raise(self, seconds: int) -> None:
        kept = self.of_each(snapshot.history_seconds)
        for connection, now in zip(self.readers, kept, strict=True):
            before = self._before.get(connection, now)
            if before is None or before >= seconds:
                continue
            self.reporter.note(
                f"{connection.shown} keeps its history for {seconds:,} s until this command ends; "
                f"if fastdump is killed, set it back: {_by_hand(connection, before)}"
            )
            # Remember it before raising it, so that it is set back whatever interrupts this.
            self._before[connection] = before
            try:
                with connect(connection) as client, translated(connection):
                    snapshot.keep_history(client, seconds)
            except FastdumpError:
                del self._before[connection]
                raise
        self._kept = seconds


def _defined(catalog: Catalog) -> tuple[Collection, ...]:
    """Return the definitions of the catalog, without counts and sizes."""
    return tuple(replace(one, documents=0, raw_bytes=0) for one in catalog.collections)


def _by_hand(connection: Connection, seconds: int) -> str:
    where = connection.member or connection.shown
    return f"db.adminCommand({{setParameter: 1, {snapshot.WINDOW}: {seconds}}}) on {where}"
