"""Replaying an oplog over documents that are of different moments, so that all are of its end.

Every operation that happened after a document was read is in the oplog, and some from before: to
apply those again does no harm, since the later ones follow (the server recovers in the same way).
Indexes are built when all is over: on the way there, documents may break the unique ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from fastdump.codec.bson import Batch, spans, without
from fastdump.errors import BackupDamagedError, FormatError, ServerError
from fastdump.model import (
    BUCKETS,
    NO_OPTIONS,
    Bson,
    ClusterTime,
    Collection,
    CollectionKind,
    Connection,
    Definition,
    Namespace,
)
from fastdump.model.server import data_namespace
from fastdump.mongo import schema
from fastdump.mongo.bucket_access import access_to
from fastdump.mongo.catalog import is_of_server
from fastdump.mongo.client import (
    NAMESPACE_EXISTS,
    NAMESPACE_NOT_FOUND,
    Client,
    Document,
    open_database,
)
from fastdump.mongo.confirming import check_confirmed
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
from fastdump.mongo.retry import retrying

__all__ = ["Replay", "check_rights"]

_MAX_OPERATIONS = 1000
_MAX_BYTES = 8 * 1024 * 1024
"""What one command takes: PyMongo's limit for it is 16 MiB, and one operation may have that."""

_INDEX_NOT_FOUND = 27

_MEANINGLESS = frozenset(
    {"abortIndexBuild", "dbCheck", "dropDatabase", "dropIdent", "setMultikeyMetadata",
     "startIndexBuild"}
)  # fmt: skip
"""Of the server's own affairs; or, as the end of a database, said of each collection before."""

_DROPS_INDEXES = ("dropIndexes", "dropIndex", "deleteIndexes", "deleteIndex")

_OLD_INDEXES = "system.indexes"
"""Where servers up to 4.0 noted that an index was made."""

_OF_A_SERIES = frozenset({"collation", "expireAfterSeconds", "storageEngine", "timeseries"})
"""What `create` takes for a time series; all else is said of its buckets."""

_CHANGEABLE = frozenset({"expireAfterSeconds", "hidden", "prepareUnique", "unique"})

_PASSED_ON = frozenset({"convertToCapped", "emptycapped"})


def check_rights(client: Client, connection: Connection) -> None:
    """See that operations can be applied, before anything is written.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: the user has no right to do this, or the server does not know it.
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
    """One replay while it runs.

    Args:
        client: the server to write to.
        connection: how it is reached.
        name_of: what a collection is called there; None for one that is not wanted.
        definitions: what is there, called as there.
        concern: the write concern.
        limit: the entry before which to end.
        keeps: leave what is there and is made by an operation, since it may hold what no other
            operation brings back.
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
        self._client = client
        self._connection = connection
        self._name_of = name_of
        self._concern = concern
        self._limit = limit
        self._definitions = {one.namespace: one for one in definitions}
        self._present = {one.data for one in definitions}
        self._reached = set[Namespace]()
        """Those to whose documents an operation can be applied, as far as that was asked."""
        self._kept = self._present.copy() if keeps else set[Namespace]()
        self._indexes: dict[Namespace, list[Bson]] = {
            one.namespace: list(one.indexes) for one in definitions
        }
        self._transactions: defaultdict[bytes, list[Entry]] = defaultdict(list)
        self._waiting: list[Document] = []
        self._size = 0
        self._handlers: dict[str, Callable[[Namespace, Mapping[str, Any]], None]] = {
            "create": self._create,
            "drop": self._drop,
            "collMod": self._modify,
            "createIndexes": self._add_indexes,
            "commitIndexBuild": self._add_indexes,
            **dict.fromkeys(_DROPS_INDEXES, self._drop_indexes),
        }
        self.operations = 0
        """How many were applied."""
        self.reached: ClusterTime | None = None
        """The last entry that was looked at."""
        self.missing = Counter[Namespace]()
        """How many operations were on what was not there, and is not dropped later."""

    def apply(self, batch: Batch) -> bool:
        """Apply some entries; returns whether there may be more before the limit.

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
        """Apply what still waits.

        Returns:
            What is there now, each with the indexes that it should have.

        Raises:
            PyMongoError: the server does not answer, or refuses.
        """
        self._flush()
        return [
            replace(known, indexes=tuple(indexes))  # type: ignore[type-var]
            if (known := self._definitions.get(name)) is not None
            else Collection(*name, CollectionKind.COLLECTION, NO_OPTIONS, tuple(indexes), 0, 0)
            for name, indexes in self._indexes.items()
        ]

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
        """Return what is to be applied now: an entry, or what it holds, or a whole transaction."""
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
            self._define_view(operation)
        elif source.collection == _OLD_INDEXES:
            target = self._target(namespace_of(field(changes, "ns", str)))
            if target is not None:
                self._add_indexes(target, {"indexes": [changes]})
        else:
            target = self._target(source)
            # What is not there now was dropped before the backup began to look, later in the oplog.
            if target in self._present:
                self._see_that_it_is_reached(target, at)
                self._add(operation, target)
            elif target is not None:
                self.missing[target] += 1

    def _target(self, source: Namespace) -> Namespace | None:
        """What a collection, or the buckets of one, is called on the target.

        A server that hides the buckets of a time series calls them like the series in its oplog.
        """
        name = source.collection.removeprefix(BUCKETS)
        target = self._name_of(source._replace(collection=name))
        if target is None:
            return None
        buckets = _buckets(target)
        return buckets if name != source.collection or buckets in self._present else target

    def _see_that_it_is_reached(self, target: Namespace, at: ClusterTime) -> None:
        """See that an operation on documents can be applied.

        Raises:
            ServerError: it is of buckets, and `applyOps` takes no `rawData`.
        """
        if target not in self._reached:
            if retrying(self._connection)(access_to, self._client, target).fields:
                raise ServerError(
                    f"the oplog has changes of the time series {_series(target)} at {at}, and "
                    f"{self._connection.shown} hides its buckets, so that they cannot be replayed: "
                    f"end before them with --oplog-limit {at}, or leave it out with --ns-exclude"
                )
            self._reached.add(target)

    def _add(self, operation: Entry, target: Namespace) -> None:
        document: Document = {"op": operation["op"], "ns": str(target), "o": operation["o"]}
        if "o2" in operation:
            document["o2"] = operation["o2"]
        if operation["op"] == "u":
            # One that is missing was deleted before it was read, and will be here.
            document["b"] = True
        self._waiting.append(document)
        self._size += len(operation["o"].raw)
        if len(self._waiting) >= _MAX_OPERATIONS or self._size >= _MAX_BYTES:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting:
            # Again and again does no harm, as long as nothing later was applied before.
            self._command({"applyOps": waiting, "bypassDocumentValidation": True})
            self.operations += len(waiting)

    def _command(self, command: Document) -> None:
        command = {**command, "writeConcern": self._concern}
        reply = retrying(self._connection)(self._client.admin.command, command)
        check_confirmed(reply, "the oplog", self._concern)

    def _run(self, database: str, operation: Entry, at: ClusterTime) -> None:
        """What changes a collection and not its documents."""
        name, command = command_of(operation), operation["o"]
        if name in _MEANINGLESS:
            return
        target = self._target(namespace_of(f"{database}.{field(command, name, str)}"))
        if target is None or (is_of_server(database) and target not in self._present):
            return
        if name == "create" and "timeseries" in command:
            target = _buckets(_series(target))
        if name in self._handlers:
            self._handlers[name](target, command)
        elif name in _PASSED_ON:
            passed: Document = {"op": "c", "ns": f"{target.database}.$cmd"}
            self._command({"applyOps": [{**passed, "o": {**command, name: target.collection}}]})
        else:
            raise ServerError(
                f"the oplog has a {name} of {database}.{command[name]} at {at}, across which it "
                f"cannot be replayed: end before it with --oplog-limit {at}"
            )
        self.operations += 1

    def _create(self, target: Namespace, command: Mapping[str, Any]) -> None:
        if target in self._present:
            if target in self._kept:
                return
            # The one that was restored is the one that is made here, or one before it.
            self._drop(target, {})
        own = _series(target)
        names = _OF_A_SERIES if own != target else command.keys() - {"create", "idIndex", "temp"}
        options = {name: command[name] for name in command if name in names}
        self._make(own, options)
        self._present.add(target)
        self._indexes[own] = []

    def _drop(self, target: Namespace, _command: Mapping[str, Any]) -> None:
        self.missing.pop(target, None)
        if target not in self._present:
            return
        self._kept.discard(target)
        own = _series(target)
        retrying(self._connection)(schema.drop, self._client, own, self._concern)
        self._present.discard(target)
        self._reached.discard(target)
        for name in (own, target):
            self._indexes.pop(name, None)

    def _modify(self, target: Namespace, command: Mapping[str, Any]) -> None:
        if "index" in command:
            change = field(command, "index", RawBSONDocument)
            indexes = self._indexes.get(target, [])
            for place, one in enumerate(indexes):
                index = schema.fields(one)
                if index["name"] == change.get("name") or index["key"] == change.get("keyPattern"):
                    news = {name: change[name] for name in change if name in _CHANGEABLE}
                    indexes[place] = bson.encode({**index, **news})
        others = {name: command[name] for name in command if name not in ("collMod", "index")}
        if others and target in self._present:
            database = open_database(self._client, target.database)
            # It takes no rawData, and does the same with the name of a time series.
            source = retrying(self._connection)(access_to, self._client, target)
            changed = {"collMod": source.collection, **others}
            retrying(self._connection)(database.command, changed)

    def _add_indexes(self, target: Namespace, command: Mapping[str, Any]) -> None:
        if "indexes" in command:
            found = field(command, "indexes", list)
        else:
            found = [{name: command[name] for name in command if name != "createIndexes"}]
        for index in found:
            field(index, "key", RawBSONDocument)
            self._remove_index(target, field(index, "name", str))
            self._indexes.setdefault(target, []).append(without(bson.encode(index), b"ns"))

    def _drop_indexes(self, target: Namespace, command: Mapping[str, Any]) -> None:
        name = field(command, "index", str)
        self._remove_index(target, name)
        database = open_database(self._client, target.database)
        gone: list[str | int] = [_INDEX_NOT_FOUND, NAMESPACE_NOT_FOUND]
        source = retrying(self._connection)(access_to, self._client, target)
        retrying(self._connection)(
            database.command,
            {**source.command("dropIndexes"), "index": name},
            allowable_errors=gone,
        )

    def _remove_index(self, target: Namespace, name: str) -> None:
        kept = [one for one in self._indexes.get(target, []) if schema.fields(one)["name"] != name]
        self._indexes[target] = kept

    def _define_view(self, operation: Entry) -> None:
        """An operation on the server's own list of views."""
        is_update = operation["op"] == "u"
        named = field(operation, "o2" if is_update else "o", RawBSONDocument)
        target = self._name_of(namespace_of(field(named, "_id", str)))
        if target is None:
            return
        definition = operation["o"]
        if is_update and "$v" in definition:
            change = {"op": "u", "ns": f"{target.database}.{VIEWS}", "o2": {"_id": str(target)}}
            self._command({"applyOps": [{**change, "o": definition, "b": True}]})
        elif operation["op"] == "d":
            retrying(self._connection)(schema.drop, self._client, target, self._concern)
            self._present.discard(_buckets(target))
            self._indexes.pop(target, None)
        elif not field(definition, "viewOn", str).startswith(
            BUCKETS
        ):  # those are made with their buckets
            retrying(self._connection)(schema.drop, self._client, target, self._concern)
            self._make(target, {name: definition[name] for name in definition if name != "_id"})
        self.operations += 1

    def _make(self, target: Namespace, options: Mapping[str, Any]) -> None:
        database = open_database(self._client, target.database)
        command = {"create": target.collection, **options}
        retrying(self._connection)(database.command, command, allowable_errors=[NAMESPACE_EXISTS])


def _buckets(series: Namespace) -> Namespace:
    """What holds the documents of a time series."""
    return data_namespace(series, CollectionKind.TIMESERIES)


def _series(target: Namespace) -> Namespace:
    """A time series, of its buckets; any other collection is itself."""
    return target._replace(collection=target.collection.removeprefix(BUCKETS))


def _kind(operation: Entry) -> str:
    """Return which kind of operation it is.

    Raises:
        FormatError: it has none, or one that may mean anything.
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
