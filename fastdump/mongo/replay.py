"""Replaying an oplog over documents of different moments, so that all are of the oplog's end.

The oplog has every operation that happened after a document was read, and some from before. To
apply those again does no harm, since the later ones follow; the server recovers in the same way.
Indexes are built at the end: before that, documents may break the unique ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import bson
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from fastdump.codec.bson import Batch, spans
from fastdump.errors import BackupDamagedError, FormatError, ServerError
from fastdump.model import (
    ClusterTime,
    Connection,
    Definition,
    Namespace,
)
from fastdump.mongo.catalog import is_of_server
from fastdump.mongo.client import (
    Client,
    Document,
)
from fastdump.mongo.oplog import (
    NOISE,
    OPERATIONS,
    VIEWS,
    Entry,
    command_of,
    decoded,
    field,
    namespace_of,
    timestamp,
)
from fastdump.mongo.replay_target import HANDLERS, ReplayTarget, buckets_of, series_of
from fastdump.mongo.retry import retrying

__all__ = ["Replay", "check_rights"]

_MAX_OPERATIONS = 1000
_MAX_BYTES = 8 * 1024 * 1024
"""The limits of one command. PyMongo's limit is 16 MiB, which one operation alone may have."""

_MEANINGLESS = frozenset(
    {"abortIndexBuild", "dbCheck", "dropDatabase", "dropIdent", "setMultikeyMetadata",
     "startIndexBuild"}
)  # fmt: skip
"""Commands that concern the server itself, and `dropDatabase`, which follows a drop of each
collection."""

_OLD_INDEXES = "system.indexes"
"""The collection in which servers up to 4.0 kept the indexes of a database."""

_PASSED_ON = frozenset({"convertToCapped", "emptycapped"})


def check_rights(client: Client, connection: Connection) -> None:
    """See that operations of an oplog can be applied, before anything is written.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: the user has no right to apply operations, or the server does not know how.
    """
    try:
        ask = retrying(connection)
        ask(client.admin.command, {"applyOps": [{"op": "n", "ns": "", "o": {}}]})
    except OperationFailure as error:
        raise ServerError(
            f"{connection.shown} does not let this user replay an oplog, which takes the role "
            "root, or one with anyAction on anyResource, and no mongos between"
        ) from error


class Replay:
    """The replay of one oplog.

    Args:
        client: the server to write to.
        connection: how the server is reached.
        name_of: returns the name of a collection there; None for one that is not wanted.
        definitions: the collections that are there, by the names that they have there.
        keeps: leave a collection that is there when an operation makes it, since it may hold
            documents that no other operation brings back.
        concern: the write concern.
        limit: the entry before which to end; None is the end of the oplog.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        name_of: Callable[[Namespace], Namespace | None],
        definitions: Sequence[Definition],
        *,
        keeps: bool,
        concern: Document,
        limit: ClusterTime | None,
    ) -> None:
        self._limit = limit
        self._target = ReplayTarget(
            client, connection, name_of, definitions, keeps=keeps, concern=concern
        )
        self._transactions: defaultdict[bytes, list[Entry]] = defaultdict(list)
        self._waiting: list[Document] = []
        self._size = 0
        self.operations = 0
        """Number of operations that were applied."""
        self.reached: ClusterTime | None = None
        """The last entry that was looked at."""

    @property
    def missing(self) -> Counter[Namespace]:
        """Number of operations on a collection that is not there, and is not dropped later."""
        return self._target.missing

    def apply(self, batch: Batch) -> bool:
        """Apply the entries of a batch; return False when the limit is reached.

        Raises:
            BackupDamagedError: an entry is not what an oplog holds.
            PyMongoError: the server does not answer, or refuses.
            ServerError: an entry cannot be replayed.
        """
        for start, end in spans(batch.data):
            entry, at = self._read(batch.data[start:end])
            if self._limit is not None and at >= self._limit:
                return False
            self.reached = at
            try:
                for operation in self._operations(entry):
                    self._apply(operation, at)
            except FormatError as error:
                raise BackupDamagedError(
                    f"the entry of the oplog at {at} cannot be replayed: {error}; end before it "
                    f"with --oplog-limit {at}"
                ) from None
        return True

    def end(self) -> list[Definition]:
        """Apply the operations that still wait.

        Returns:
            The collections that are there now, each with the indexes that it should have.

        Raises:
            PyMongoError: the server does not answer, or refuses.
        """
        self._flush()
        return self._target.definitions()

    def _read(self, raw: bytes) -> tuple[Entry, ClusterTime]:
        try:
            entry = decoded(raw)
            return entry, timestamp(field(entry, "ts", Timestamp))
        except FormatError as error:
            where = f"after {self.reached}" if self.reached else "at its beginning"
            raise BackupDamagedError(
                f"an entry of the oplog, {where}, cannot be replayed: {error}"
            ) from None

    def _operations(self, entry: Entry) -> Iterable[Entry]:
        """Return the operations to apply now: an entry, those in it, or a whole transaction."""
        name = _kind(entry) and command_of(entry)
        if name not in ("applyOps", "commitTransaction", "abortTransaction"):
            return (entry,)
        if entry.get("txnNumber") is None:
            return _flat(entry)
        command = entry["o"]
        session = field(entry, "lsid", RawBSONDocument)
        key = bson.encode({"lsid": session, "number": entry["txnNumber"]})
        self._transactions[key] += field(command, name, list) if name == "applyOps" else []
        if command.get("partialTxn") or command.get("prepare"):
            return ()
        operations = self._transactions.pop(key)
        return operations if name != "abortTransaction" else ()

    def _apply(self, operation: Entry, at: ClusterTime) -> None:
        kind = _kind(operation)
        if kind in NOISE:
            return
        source = namespace_of(field(operation, "ns", str))
        changes = field(operation, "o", RawBSONDocument)
        if kind == "c":
            self._flush()
            self._run(source.database, operation, at)
        elif source.collection == VIEWS:
            self._flush()
            self.operations += self._target.define_view(operation)
        elif source.collection == _OLD_INDEXES:
            target = self._target.find(namespace_of(field(changes, "ns", str)))
            if target is not None:
                self._target.add_indexes(target, {"indexes": [changes]})
        else:
            target = self._target.find(source)
            # A collection that is not there is dropped later in the oplog.
            if target in self._target.present:
                self._target.check_reachable(target, at)
                self._add(operation, target)
            elif target is not None:
                self._target.missing[target] += 1

    def _add(self, operation: Entry, target: Namespace) -> None:
        document: Document = {"op": operation["op"], "ns": str(target), "o": operation["o"]}
        if "o2" in operation:
            document["o2"] = operation["o2"]
        if operation["op"] == "u":
            # A document that is missing was deleted before it was read: an upsert does no harm,
            # since its deletion follows.
            document["b"] = True
        self._waiting.append(document)
        self._size += len(operation["o"].raw)
        if len(self._waiting) >= _MAX_OPERATIONS or self._size >= _MAX_BYTES:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting:
            # They may be applied several times, as long as no later ones were applied before.
            self._target.run({"applyOps": waiting, "bypassDocumentValidation": True})
            self.operations += len(waiting)

    def _run(self, database: str, operation: Entry, at: ClusterTime) -> None:
        """Replay a command, which changes a collection and not its documents."""
        name, command = command_of(operation), operation["o"]
        if name in _MEANINGLESS:
            return
        target = self._target.find(namespace_of(f"{database}.{field(command, name, str)}"))
        if target is None or (is_of_server(database) and target not in self._target.present):
            return
        if name == "create" and "timeseries" in command:
            target = buckets_of(series_of(target))
        if name in HANDLERS:
            HANDLERS[name](self._target, target, command)
        elif name in _PASSED_ON:
            passed: Document = {"op": "c", "ns": f"{target.database}.$cmd"}
            self._target.run({"applyOps": [{**passed, "o": {**command, name: target.collection}}]})
        else:
            raise ServerError(
                f"the oplog has a {name} of {database}.{command[name]} at {at}, across which it "
                f"cannot be replayed: end before it with --oplog-limit {at}"
            )
        self.operations += 1


def _kind(operation: Entry) -> str:
    """Return the kind of an operation.

    Raises:
        FormatError: it has no kind, or an unknown one.
    """
    kind = field(operation, "op", str)
    if kind not in OPERATIONS and kind not in NOISE:
        raise FormatError(f"it is an operation of the unknown kind {kind!r}")
    return kind


def _flat(entry: Entry) -> Iterator[Entry]:
    """Yield the operations that an entry holds, at any depth."""
    waiting = deque([entry])
    while waiting:
        one = waiting.popleft()
        if _kind(one) == "c" and command_of(one) == "applyOps":
            waiting.extendleft(reversed(field(one["o"], "applyOps", list)))
        else:
            yield one
