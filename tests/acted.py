"""Imitate servers that cannot be installed, by a proxy in front of one that can."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import bson
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from tests.conftest import Server
from tests.proxy import Document, Forward, WireProxy, refusal, without

BUCKETS = "system.buckets."
_TAKE_RAW_DATA = (
    "aggregate", "count", "createIndexes", "delete", "distinct", "find", "insert", "listIndexes",
    "update",
)  # fmt: skip
"""Commands that accept `rawData` and that fastdump might need. Source: the drivers' ticket
DRIVERS-3064."""
OF_A_SET = ("setName", "setVersion", "hosts", "primary", "me", "electionId", "isreplicaset")


def do_the_rest(
    command: Document, field_name: str, forward: Forward, refused: Mapping[int, Document]
) -> Document:
    """Let the server execute a write without the refused parts, which are given by position."""
    parts = command[field_name]
    left = [place for place in range(len(parts)) if place not in refused]
    reply: Document = {"n": 0, "nModified": 0, "ok": 1.0}
    if left or not parts:
        reply = forward({**command, field_name: [parts[place] for place in left]})
    moved: Document = {
        field: [{**one, "index": left[one["index"]]} for one in reply[field]]
        for field in ("upserted", "writeErrors")
        if field in reply
    }
    errors = [{"index": place, **error} for place, error in refused.items()]
    errors += moved.get("writeErrors", [])
    return {**reply, **moved, **({"writeErrors": errors} if errors else {})}


def refuse_dollars_in_updates(proxy: WireProxy) -> None:
    """Imitate MongoDB 4.4, which accepts nested names with a dollar in inserts only."""

    def update(command: Document, forward: Forward) -> Document:
        error = {"code": 52, "errmsg": "The dollar ($) prefixed field is not valid for storage."}
        refused = {
            place: error
            for place, statement in enumerate(command["updates"])
            if any(name.startswith("$") for name in _names_below(written(statement)))
        }
        return do_the_rest(command, "updates", forward, refused)

    proxy.around("update", update)


def written(statement: Mapping[str, Any]) -> Document:
    """Return the document that an update statement writes."""
    new = bson.decode(RawBSONDocument(bson.encode({"u": statement["u"]})).raw)["u"]
    found: Document = new if isinstance(new, dict) else new[0]["$replaceWith"]["$literal"]
    return found


def _names_below(value: object) -> Iterator[str]:
    for one in value.values() if isinstance(value, dict) else ():
        for inner in one if isinstance(one, list) else [one]:
            if isinstance(inner, dict):
                yield from inner
                yield from _names_below(inner)


def refuse_mixed_buckets(proxy: WireProxy) -> None:
    """Imitate newer MongoDB, such as 6.0.27, which accepts mixed schema only after a `collMod`."""
    allowed = set[str]()
    error = {"code": 408, "errmsg": "Cannot write time-series bucket containing mixed schema data"}

    def is_refused(collection: str, bucket: Document) -> bool:
        ends = [bucket.get("control", {}).get(end, {}) for end in ("min", "max")]
        mixed = any(type(ends[0][name]) is not type(ends[1][name]) for name in ends[0])
        return mixed and collection.removeprefix("system.buckets.") not in allowed

    def modify(command: Document, forward: Forward) -> Document:
        assert command["timeseriesBucketsMayHaveMixedSchemaData"] is True
        allowed.add(command["collMod"])
        forward(command)  # an older server ignores this
        return {"ok": 1.0}

    def insert(command: Document, forward: Forward) -> Document:
        documents = command["documents"]
        refused = {
            place: error
            for place, one in enumerate(documents)
            if is_refused(command["insert"], bson.decode(one.raw))
        }
        return do_the_rest(command, "documents", forward, refused)

    def update(command: Document, forward: Forward) -> Document:
        refused = {
            place: error
            for place, one in enumerate(command["updates"])
            if is_refused(command["update"], written(one))
        }
        return do_the_rest(command, "updates", forward, refused)

    proxy.around("collMod", modify)
    proxy.around("insert", insert)
    proxy.around("update", update)


class HiddenBuckets:
    """Imitation of MongoDB 9.0, in which the buckets of a time series have no name of their own.

    `listCollections` does not show them, commands that name them are refused, and `rawData: true`
    with the name of the series means them. Sources: the server's system_buckets_metrics.cpp for the
    refusal, its explain.cpp for the error of a command that does not accept `rawData`.

    Args:
        proxy: the proxy in front of the server.
        listed: list buckets all the same, like those that an older server has created.
    """

    def __init__(self, proxy: WireProxy, *, listed: bool = False) -> None:
        self._listed = listed
        self._cursors = set[int]()
        self.raw = Counter[str]()
        """Number of times that each command asked for buckets with `rawData`."""
        self.refused = Counter[str]()
        """Number of times that each command was refused because it named buckets."""
        proxy.around("listCollections", self._list)
        for name in _TAKE_RAW_DATA:
            proxy.around(name, partial(self._answer, name))
        for name in ("collStats", "collMod", "create", "drop", "killCursors"):
            proxy.around(name, partial(self._pass, name))
        proxy.around("getMore", self._get_more)

    def _list(self, command: Document, forward: Forward) -> Document:
        conditions = command.get("filter", {})
        every = forward({**without(command, "nameOnly"), "filter": without(conditions, "name")})
        held = {one["name"]: one for one in every["cursor"]["firstBatch"]}
        found = []
        for name, one in held.items():
            buckets = held.get(BUCKETS + name)
            if buckets is not None:
                found.append({**one, "info": buckets["info"]})
            elif self._listed or not name.startswith(BUCKETS):
                found.append(one)
        wanted = conditions.get("name")
        if wanted is not None:
            names = wanted["$in"] if isinstance(wanted, Mapping) else [wanted]
            found = [one for one in found if one["name"] in names]
        if command.get("nameOnly"):
            found = [{"name": one["name"], "type": one["type"]} for one in found]
        cursor = {"id": Int64(0), "ns": f"{command['$db']}.$cmd.listCollections"}
        return {"cursor": {**cursor, "firstBatch": found}, "ok": 1.0}

    def _answer(self, verb: str, command: Document, forward: Forward) -> Document:
        name = command[verb]
        if command["$db"] == "local":
            return _with_own_names(forward(command))
        if not command.get("rawData"):
            return self._pass(verb, command, forward)
        self.raw[verb] += 1
        reply = forward({**without(command, "rawData"), verb: f"{BUCKETS}{name}"})
        if "cursor" not in reply:
            return reply
        self._cursors.add(reply["cursor"]["id"])
        return self._renamed(reply, command, name)

    def _pass(self, verb: str, command: Document, forward: Forward) -> Document:
        return self._refused(verb, command[verb], command) or forward(command)

    def _get_more(self, command: Document, forward: Forward) -> Document:
        name = command["collection"]
        if command["$db"] == "local":
            return _with_own_names(forward(command))
        refused = self._refused("getMore", name, command)
        if refused is not None or command["getMore"] not in self._cursors:
            return refused or forward(command)
        self.raw["getMore"] += 1
        reply = forward({**command, "collection": f"{BUCKETS}{name}"})
        return self._renamed(reply, command, name) if "cursor" in reply else reply

    @staticmethod
    def _renamed(reply: Document, command: Document, name: str) -> Document:
        return {**reply, "cursor": {**reply["cursor"], "ns": f"{command['$db']}.{name}"}}

    def _refused(self, verb: str, name: object, command: Document) -> Document | None:
        if "rawData" in command:
            return refusal(72, "Command does not support the rawData option")
        if not str(name).startswith(BUCKETS):
            return None
        self.refused[verb] += 1
        return refusal(
            491,
            f"Command {verb} on namespace {command['$db']}.{name} is not supported. Direct access "
            "to timeseries buckets namespaces is not allowed anymore. Please target the main "
            "timeseries namespace instead. Use the rawData API to directly read timeseries buckets "
            "data in raw format.",
            name="CommandNotSupportedOnLegacyTimeseriesBucketsNamespace",
        )


def _with_own_names(reply: Document) -> Document:
    """Return oplog entries of a server in which buckets have no name of their own."""
    cursor = dict(reply.get("cursor", {}))
    for batch in cursor.keys() & {"firstBatch", "nextBatch"}:
        entries = [_with_own_name(dict(entry)) for entry in cursor[batch]]
        cursor[batch] = [one for one in entries if "system.views" not in one.get("ns", "")]
    return {**reply, "cursor": cursor} if cursor else reply


def _with_own_name(entry: Document) -> Document:
    entry["ns"] = entry.get("ns", "").replace(BUCKETS, "")
    if entry.get("op") == "c":
        operation = dict(entry["o"])
        verb, name = next(iter(operation.items()))
        if verb == "applyOps":
            operation[verb] = [_with_own_name(dict(one)) for one in name]
        elif isinstance(name, str):
            operation[verb] = name.removeprefix(BUCKETS)
        entry["o"] = operation
    return entry


class Mongos:
    """Imitation of a mongos with a sharded collection `c`; each value of the key has its own shard.

    Args:
        proxy: the proxy in front of the only shard.
        server: the same shard.
        database: the database of the collection.
        key: the shard key.
        tells: allow reading `config`.
    """

    def __init__(
        self, proxy: WireProxy, server: Server, database: str, key: str, *, tells: bool = True
    ) -> None:
        self._shard: MongoClient[Document] = MongoClient(server.uri)
        self._namespace = f"{database}.c"
        self._key = key
        self._tells = tells
        self.doubled: list[object] = []
        """`_id`s of documents that an insert would have stored twice, on two shards."""
        proxy.around("hello", self._hello)
        proxy.around("find", self._find)
        proxy.around("insert", self._insert)
        proxy.around("update", self._update)

    @staticmethod
    def _hello(command: Document, forward: Forward) -> Document:
        return {**without(forward(command), *OF_A_SET), "msg": "isdbgrid"}

    def _find(self, command: Document, forward: Forward) -> Document:
        if command["$db"] != "config":
            return forward(command)
        if not self._tells:
            return refusal(13, "not authorized on config to execute command")
        found = [{"_id": self._namespace, "key": {self._key: 1}}]
        wanted = [one for one in found if one["_id"] == command["filter"]["_id"]]
        cursor = {"id": 0, "ns": "config.collections", "firstBatch": wanted}
        return {"cursor": cursor, "ok": 1.0}

    def _insert(self, command: Document, forward: Forward) -> Document:
        # In a transaction the old document is deleted first.
        for one in command["documents"] if "txnNumber" not in command else ():
            new = bson.decode(one.raw)
            old = self._held(new["_id"])
            if old is not None and self._value(old) != self._value(new):
                self.doubled.append(new["_id"])
        return forward(command)

    def _update(self, command: Document, forward: Forward) -> Document:
        refused: dict[int, Document] = {}
        for place, one in enumerate(command["updates"]):
            query = bson.decode(one["q"].raw)
            old = self._held(query["_id"]["$eq"])
            if self._key not in query:
                refused[place] = {"code": 61, "errmsg": "could not extract exact shard key"}
            elif old is not None and self._value(old) != self._value(written(one)):
                refused[place] = {"code": 20, "errmsg": "Must run update to shard key field in a"}
        return do_the_rest(command, "updates", forward, refused)

    def _held(self, identity: object) -> Document | None:
        database, collection = self._namespace.split(".", 1)
        return self._shard[database][collection].find_one({"_id": {"$eq": identity}})

    def _value(self, document: Document) -> object:
        value: object = document
        for name in self._key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value
