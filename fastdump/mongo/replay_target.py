"""The collections of a target while an oplog is replayed over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from fastdump.codec.bson import without
from fastdump.errors import ServerError
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
from fastdump.mongo.client import (
    NAMESPACE_EXISTS,
    NAMESPACE_NOT_FOUND,
    Client,
    Document,
    open_database,
)
from fastdump.mongo.confirming import check_confirmed
from fastdump.mongo.oplog import VIEWS, Entry, field, namespace_of
from fastdump.mongo.retry import retrying

__all__ = ["HANDLERS", "ReplayTarget", "buckets_of", "series_of"]

_INDEX_NOT_FOUND = 27

_OF_A_SERIES = frozenset({"collation", "expireAfterSeconds", "storageEngine", "timeseries"})
"""The options that `create` takes for a time series; all others are said of its buckets."""

_CHANGEABLE = frozenset({"expireAfterSeconds", "hidden", "prepareUnique", "unique"})
"""The fields of an index that `collMod` can change."""


class ReplayTarget:
    """The collections of a target, as far as an oplog was replayed.

    Args:
        client: the server to write to.
        connection: how the server is reached.
        name_of: returns the name of a collection there; None for one that is not wanted.
        definitions: the collections that are there, by the names that they have there.
        keeps: leave a collection that is there when an operation makes it, since it may hold
            documents that no other operation brings back.
        concern: the write concern.
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
    ) -> None:
        self._client = client
        self._connection = connection
        self._name_of = name_of
        self._concern = concern
        self._definitions = {one.namespace: one for one in definitions}
        self._reached = set[Namespace]()
        """Collections to whose documents operations can be applied, as far as that was asked."""
        self._indexes: dict[Namespace, list[Bson]] = {
            one.namespace: list(one.indexes) for one in definitions
        }
        self.present = {one.data for one in definitions}
        """The collections that are there now; for a time series its buckets."""
        self._kept = self.present.copy() if keeps else set[Namespace]()
        self.missing = Counter[Namespace]()
        """Number of operations on a collection that is not there, and is not dropped later."""

    def definitions(self) -> list[Definition]:
        """Return the collections that are there now, each with the indexes that it should have."""
        return [
            replace(known, indexes=tuple(indexes))  # type: ignore[type-var]
            if (known := self._definitions.get(name)) is not None
            else Collection(*name, CollectionKind.COLLECTION, NO_OPTIONS, tuple(indexes), 0, 0)
            for name, indexes in self._indexes.items()
        ]

    def find(self, source: Namespace) -> Namespace | None:
        """Return the name on the target of a collection, or of buckets; None for an unwanted one.

        A server that hides the buckets of a time series calls them like the series in its oplog.
        """
        name = source.collection.removeprefix(BUCKETS)
        target = self._name_of(source._replace(collection=name))
        if target is None:
            return None
        buckets = buckets_of(target)
        return buckets if name != source.collection or buckets in self.present else target

    def check_reachable(self, target: Namespace, at: ClusterTime) -> None:
        """See that operations on the documents of a collection can be applied.

        Raises:
            PyMongoError: the server does not answer.
            ServerError: the server hides the buckets of a time series, which `applyOps` cannot
                name.
        """
        if target not in self._reached:
            if retrying(self._connection)(access_to, self._client, target).fields:
                raise ServerError(
                    f"the oplog has changes of the time series {series_of(target)} at {at}, and "
                    f"{self._connection.shown} hides its buckets, so that they cannot be replayed: "
                    f"end before them with --oplog-limit {at}, or leave it out with --ns-exclude"
                )
            self._reached.add(target)

    def run(self, command: Document) -> None:
        """Run a command on the database `admin`, again if the server goes away.

        Raises:
            PyMongoError: the server refuses.
            ServerError: not enough members of the replica set confirmed it.
        """
        command = {**command, "writeConcern": self._concern}

        def confirmed() -> None:
            reply = self._client.admin.command(command)
            check_confirmed(reply, "the oplog", self._concern)

        retrying(self._connection)(confirmed)

    def create(self, target: Namespace, command: Mapping[str, Any]) -> None:
        """Make a collection, or the buckets of a time series.

        Raises:
            FormatError: the entry is not what an oplog holds.
            PyMongoError: the server does not answer, or refuses.
        """
        if target in self.present:
            if target in self._kept:
                return
            # It was restored from this one or from one before it, which the oplog made.
            self.drop(target)
        own = series_of(target)
        names = _OF_A_SERIES if own != target else command.keys() - {"create", "idIndex", "temp"}
        options = {name: command[name] for name in command if name in names}
        self._make(own, options)
        self.present.add(target)
        self._indexes[own] = []

    def drop(self, target: Namespace, _command: Mapping[str, Any] | None = None) -> None:
        """Drop a collection.

        Raises:
            FormatError: the entry is not what an oplog holds.
            PyMongoError: the server does not answer, or refuses.
        """
        self.missing.pop(target, None)
        if target not in self.present:
            return
        self._kept.discard(target)
        own = series_of(target)
        retrying(self._connection)(schema.drop, self._client, own, self._concern)
        self.present.discard(target)
        self._reached.discard(target)
        for name in (own, target):
            self._indexes.pop(name, None)

    def modify(self, target: Namespace, command: Mapping[str, Any]) -> None:
        """Change the options of a collection, or an index of it.

        Raises:
            FormatError: the entry is not what an oplog holds.
            PyMongoError: the server does not answer, or refuses.
        """
        if "index" in command:
            change = field(command, "index", RawBSONDocument)
            indexes = self._indexes.get(target, [])
            for place, one in enumerate(indexes):
                index = schema.fields(one)
                if index["name"] == change.get("name") or index["key"] == change.get("keyPattern"):
                    news = {name: change[name] for name in change if name in _CHANGEABLE}
                    indexes[place] = bson.encode({**index, **news})
        others = {name: command[name] for name in command if name not in ("collMod", "index")}
        if others and target in self.present:
            database = open_database(self._client, target.database)
            # collMod takes no rawData, and does the same with the name of a time series.
            source = retrying(self._connection)(access_to, self._client, target)
            changed = {"collMod": source.collection, **others}
            retrying(self._connection)(database.command, changed)

    def add_indexes(self, target: Namespace, command: Mapping[str, Any]) -> None:
        """Remember indexes, which are built at the end.

        Raises:
            FormatError: the entry is not what an oplog holds.
            PyMongoError: the server does not answer, or refuses.
        """
        if "indexes" in command:
            found = field(command, "indexes", list)
        else:
            found = [{name: command[name] for name in command if name != "createIndexes"}]
        for index in found:
            field(index, "key", RawBSONDocument)
            self._remove_index(target, field(index, "name", str))
            self._indexes.setdefault(target, []).append(without(bson.encode(index), b"ns"))

    def drop_indexes(self, target: Namespace, command: Mapping[str, Any]) -> None:
        """Drop an index.

        Raises:
            FormatError: the entry is not what an oplog holds.
            PyMongoError: the server does not answer, or refuses.
        """
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

    def define_view(self, operation: Entry) -> bool:
        """Apply an operation on the server's own list of views; return False if it is not wanted.

        Raises:
            FormatError: the entry is not what an oplog holds.
            PyMongoError: the server does not answer, or refuses.
        """
        is_update = operation["op"] == "u"
        named = field(operation, "o2" if is_update else "o", RawBSONDocument)
        target = self._name_of(namespace_of(field(named, "_id", str)))
        if target is None:
            return False
        definition = operation["o"]
        if is_update and "$v" in definition:
            change = {"op": "u", "ns": f"{target.database}.{VIEWS}", "o2": {"_id": str(target)}}
            self.run({"applyOps": [{**change, "o": definition, "b": True}]})
        elif operation["op"] == "d":
            retrying(self._connection)(schema.drop, self._client, target, self._concern)
            self.present.discard(buckets_of(target))
            self._indexes.pop(target, None)
        elif not field(definition, "viewOn", str).startswith(BUCKETS):
            # Not the view of a time series, which is made with its buckets.
            retrying(self._connection)(schema.drop, self._client, target, self._concern)
            self._make(target, {name: definition[name] for name in definition if name != "_id"})
        return True

    def _make(self, target: Namespace, options: Mapping[str, Any]) -> None:
        database = open_database(self._client, target.database)
        command = {"create": target.collection, **options}
        retrying(self._connection)(database.command, command, allowable_errors=[NAMESPACE_EXISTS])


HANDLERS: dict[str, Callable[[ReplayTarget, Namespace, Mapping[str, Any]], None]] = {
    "create": ReplayTarget.create,
    "drop": ReplayTarget.drop,
    "collMod": ReplayTarget.modify,
    "createIndexes": ReplayTarget.add_indexes,
    "commitIndexBuild": ReplayTarget.add_indexes,
    **dict.fromkeys(
        ("dropIndexes", "dropIndex", "deleteIndexes", "deleteIndex"), ReplayTarget.drop_indexes
    ),
}
"""The methods that replay commands on collections, by the names of the commands."""


def buckets_of(series: Namespace) -> Namespace:
    """Return the collection that holds the documents of a time series."""
    return data_namespace(series, CollectionKind.TIMESERIES)


def series_of(target: Namespace) -> Namespace:
    """Return the time series of buckets; any other collection is returned itself."""
    return target._replace(collection=target.collection.removeprefix(BUCKETS))
