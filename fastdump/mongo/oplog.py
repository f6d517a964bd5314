"""Read the oplog of a replica set: find its position, follow it, and filter its entries.

Sources: the server's oplog_entry.idl for the fields of an entry, and mongodump for the operations
that cannot be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import CursorType
from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from fastdump.errors import FormatError, ServerError
from fastdump.model import ClusterTime, Connection, Namespace
from fastdump.mongo.client import RAW, STRICT, Client
from fastdump.mongo.retry import retrying

__all__ = [
    "NOISE",
    "OPERATIONS",
    "VIEWS",
    "Entry",
    "Follower",
    "command_of",
    "decoded",
    "field",
    "kept",
    "last_committed",
    "namespace_of",
    "reaches",
    "start_of_oplog",
    "timestamp",
]

Entry = Mapping[str, Any]
"""An entry of an oplog, or an operation within one."""

Wanted = Callable[[Namespace], bool]

_AWAIT_MS = 200
VIEWS = "system.views"
"""Collection in which a server stores the definitions of a database's views."""
_ENDS = frozenset({"commitTransaction", "abortTransaction"})
OPERATIONS = frozenset({"i", "u", "d", "c"})
"""Kinds of operations that another server can replay."""
NOISE = frozenset({"n", "cd", "ci", "cu", "km", "xd", "xi"})
"""Kinds that can safely be ignored: a server's heartbeat and notes to itself."""
_IRREPEATABLE = frozenset(
    {"importCollection", "renameCollection", "upgradeDowngradeViewlessTimeseries"}
)
"""Commands that change the name of a collection, so that earlier entries would mean another."""


def timestamp(value: Timestamp) -> ClusterTime:
    """Convert the driver's timestamp into a `ClusterTime`."""
    return ClusterTime(value.time, value.inc)


def start_of_oplog(client: Client) -> ClusterTime:
    """Return the first entry that must be replayed over documents that are read from now on.

    The documents already contain everything before it, and no transaction spans it.

    Raises:
        PyMongoError: the server does not answer, or the user may not read `config`.
        ServerError: the server has no oplog.
    """
    open_ones = client["config"]["transactions"].find_one(
        {"state": {"$in": ["prepared", "inProgress"]}}, sort=[("startOpTime", 1)]
    )
    last = last_committed(client)
    first = open_ones and open_ones.get("startOpTime")
    return min(last, timestamp(first["ts"])) if first else last


def last_committed(client: Client) -> ClusterTime:
    """Return the time of the last entry that a majority of the members has.

    No entry is missing before it; before the very last entry there may be gaps.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: the server has no oplog.
    """
    last = client.admin.command("hello").get("lastWrite", {}).get("majorityOpTime")
    if last is None:
        raise ServerError(
            "this server has no oplog, because it is not a member of a replica set: use another "
            "--consistency"
        )
    return timestamp(last["ts"])


def reaches(client: Client, since: ClusterTime) -> bool:
    """Return True if the oplog still has all entries from that time on.

    Raises:
        PyMongoError: the server does not answer, or the user may not read `local`.
    """
    first = _oplog(client).find_one(sort=[("$natural", 1)])
    return first is not None and timestamp(first["ts"]) <= since


def _oplog(client: Client) -> Collection[RawBSONDocument]:
    majority = ReadConcern("majority")
    found = client["local"].get_collection("oplog.rs", codec_options=RAW, read_concern=majority)
    return cast("Collection[RawBSONDocument]", found)


class Follower:
    """Reader of a growing oplog, starting at a given entry.

    Args:
        client: a member of a replica set.
        connection: its time of retrying.
        since: the time of the first entry.
        lost: called with the error of each interruption; an exception that it raises ends reading.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        since: ClusterTime,
        lost: Callable[[PyMongoError], None],
    ) -> None:
        self._server_lost = lost
        self._client = client
        self._connection = connection
        self._first = self._since = Timestamp(*since)
        self._has_begun = False
        self.reached = since
        """Time of the last entry that was read."""

    def entries(self) -> Iterator[RawBSONDocument | None]:
        """Yield the entries, each once, without end; None if there is no new entry yet.

        Raises:
            PyMongoError: the server does not answer, or the user may not read `local`.
            ServerError: the oplog no longer has the next entries.
        """
        source = self._opened()

        def following() -> RawBSONDocument | None:
            nonlocal source
            try:
                return next(source)
            except PyMongoError:
                source = self._opened()
                raise

        while True:
            entry = retrying(self._connection, self._server_lost)(following)
            if entry is not None:
                if _begins_before(entry, self._first):
                    raise ServerError(
                        "a transaction of several oplog entries began just before the backup; run "
                        "the same command again"
                    )
                self._since, self._has_begun = entry["ts"], True
                self.reached = timestamp(self._since)
            yield entry

    def _opened(self) -> Iterator[RawBSONDocument | None]:
        """Open a cursor at the last entry that was read, which must still exist."""
        if not reaches(self._client, timestamp(self._since)):
            raise self._lost("the oplog is full and its oldest entries were removed")
        cursor = (
            _oplog(self._client)
            .find(
                {"ts": {"$gte": self._since}},
                cursor_type=CursorType.TAILABLE_AWAIT,
            )
            .max_time_ms(0)
            .max_await_time_ms(_AWAIT_MS)
        )
        expected = self._since if self._has_begun else None
        while cursor.alive:
            for entry in cursor:
                if expected is None:
                    yield entry
                elif entry["ts"] != expected:
                    raise self._lost("another member became primary that did not have all of it")
                expected = None
            yield None
        if expected is not None:
            raise self._lost("another member became primary that did not have all of it")
        yield from self._opened()

    def _lost(self, why: str) -> ServerError:
        return ServerError(
            f"the oplog of {self._connection.shown} no longer has the entries after "
            f"{self.reached}, because {why}: run the same command again when less is written, with "
            "more workers (-j), or with a larger oplog (replSetResizeOplog)"
        )


def kept(entry: RawBSONDocument, wanted: Wanted) -> bytes | None:
    """Return the part of an entry that concerns the wanted collections; None if nothing does.

    Raises:
        ServerError: the entry cannot be replayed.
    """
    if entry["op"] not in OPERATIONS:
        return None
    if not _is_of_transaction(entry):
        return bytes(entry.raw) if _is_wanted(entry, wanted) else None
    if command_of(entry) in _ENDS:
        return bytes(entry.raw)
    operations = entry["o"]["applyOps"]
    inner = [operation for operation in operations if _is_wanted(operation, wanted)]
    if len(inner) == len(operations):
        return bytes(entry.raw)
    if not inner and not _is_of_several(entry):
        return None
    return bson.encode({**entry, "o": {**entry["o"], "applyOps": inner}})


def _begins_before(entry: Entry, first: Timestamp) -> bool:
    """Return True if an entry belongs to a transaction that began before the first entry."""
    # Inserts of one command are an applyOps too, but each entry of these is independent.
    if not _is_of_transaction(entry) or "multiOpType" in entry or "prevOpTime" not in entry:
        return False
    return bool(Timestamp(0, 0) < entry["prevOpTime"]["ts"] < first)


def _is_of_transaction(entry: Entry) -> bool:
    return command_of(entry) in ("applyOps", *_ENDS)


def _is_of_several(entry: Entry) -> bool:
    """Return True if an entry is one of several of a transaction, all of which are needed."""
    before = entry.get("prevOpTime")
    follows = before is not None and before["ts"] != Timestamp(0, 0)
    return follows or "partialTxn" in entry["o"] or "prepare" in entry["o"]


def _is_wanted(operation: Entry, wanted: Wanted) -> bool:
    if operation["op"] not in OPERATIONS:
        return False  # these occur inside transactions too
    namespace = namespace_of(operation["ns"])
    name, command = command_of(operation), operation["o"]
    if not name:
        if namespace.collection == VIEWS:
            identity = operation["o2" if operation["op"] == "u" else "o"]["_id"]
            return wanted(namespace_of(str(identity)))
        return wanted(namespace)
    target = command[name]
    names = [namespace._replace(collection=target)] if isinstance(target, str) else []
    if name == "renameCollection":
        names = [namespace_of(command[end]) for end in (name, "to")]
    found = any(wanted(one) for one in names)
    if found and name in _IRREPEATABLE:
        told = " to ".join(map(str, names))
        raise ServerError(
            f"{name} of {told} happened while the server was read, and an oplog with it cannot be "
            "replayed; run the same command again, or use --consistency snapshot"
        )
    return found


T = TypeVar("T")


def decoded(raw: bytes) -> Entry:
    """Return an entry from its bytes; documents in it stay bytes.

    Raises:
        FormatError: the bytes are not a valid document.
    """
    try:
        return cast("Entry", RawBSONDocument(raw, STRICT))
    except BSONError as error:
        raise FormatError(f"it is not valid BSON: {error}") from None


def field(document: object, name: str, kind: type[T]) -> T:
    """Return a field of an entry, which may come from an untrusted file.

    Raises:
        FormatError: there is no field of that name and type.
    """
    try:
        found = document.get(name) if isinstance(document, Mapping) else None
    except BSONError as error:
        raise FormatError(f"it is not valid BSON: {error}") from None
    if not isinstance(found, kind):
        raise FormatError(f"its field {name} is missing or has a wrong type")
    return found


def namespace_of(text: str) -> Namespace:
    """Return the namespace written as `database.collection`.

    Raises:
        FormatError: the text is not the name of a collection.
    """
    database, _dot, collection = text.partition(".")
    if not database or not collection:
        raise FormatError(f"{text!r} is not the name of a collection")
    return Namespace(database, collection)


def command_of(operation: Entry) -> str:
    """Return the name of an operation's command; "" if the operation is not a command.

    Raises:
        FormatError: the command is malformed.
    """
    if operation["op"] != "c":
        return ""
    command = field(operation, "o", RawBSONDocument)
    try:
        name = next(iter(command), "")
    except BSONError as error:
        raise FormatError(f"its command is not valid BSON: {error}") from None
    if not name:
        raise FormatError("its command is empty")
    return str(name)
