"""The oplog of a replica set: where it is, following it, and what of it a backup needs.

Sources: the server's oplog_entry.idl for the fields of an entry, and what mongodump refuses.
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
"""Where a server keeps the definitions of a database's views."""
_ENDS = frozenset({"commitTransaction", "abortTransaction"})
OPERATIONS = frozenset({"i", "u", "d", "c"})
"""All others have no meaning for another server."""
NOISE = frozenset({"n", "cd", "ci", "cu", "km", "xd", "xi"})
"""Kinds of operations that are known to have none: a server's pulse and notes to itself."""
_IRREPEATABLE = frozenset(
    {"importCollection", "renameCollection", "upgradeDowngradeViewlessTimeseries"}
)
"""What changes the name of a collection, so that earlier entries mean another."""


def timestamp(value: Timestamp) -> ClusterTime:
    """As this program carries it."""
    return ClusterTime(value.time, value.inc)


def start_of_oplog(client: Client) -> ClusterTime:
    """The entry from which an oplog makes a whole of documents that are read from now on.

    Everything before it is in the documents, and no transaction is half way through it.

    Raises:
        PyMongoError: the server does not answer, or the user has no right to read `config`.
        ServerError: it has no oplog.
    """
    open_ones = client["config"]["transactions"].find_one(
        {"state": {"$in": ["prepared", "inProgress"]}}, sort=[("startOpTime", 1)]
    )
    last = last_committed(client)
    first = open_ones and open_ones.get("startOpTime")
    return min(last, timestamp(first["ts"])) if first else last


def last_committed(client: Client) -> ClusterTime:
    """The last entry that a majority has: all that it has is of no later time.

    There is no gap before it, as before the very last entry there may be.

    Raises:
        PyMongoError: the server does not answer.
        ServerError: it has no oplog.
    """
    last = client.admin.command("hello").get("lastWrite", {}).get("majorityOpTime")
    if last is None:
        raise ServerError("this server has no oplog: only members of a replica set do")
    return timestamp(last["ts"])


def reaches(client: Client, since: ClusterTime) -> bool:
    """Whether the oplog still has everything from that entry on.

    Raises:
        PyMongoError: the server does not answer, or the user has no right to read `local`.
    """
    first = _oplog(client).find_one(sort=[("$natural", 1)])
    return first is not None and timestamp(first["ts"]) <= since


def _oplog(client: Client) -> Collection[RawBSONDocument]:
    majority = ReadConcern("majority")
    found = client["local"].get_collection("oplog.rs", codec_options=RAW, read_concern=majority)
    return cast("Collection[RawBSONDocument]", found)


class Follower:
    """Reads the oplog from an entry on, while it grows.

    Args:
        client: a member of a replica set.
        connection: how it is reached.
        since: the first entry.
        lost: hears of each time that the server went away; what it raises is the end.
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
        """The last entry that was read."""

    def entries(self) -> Iterator[RawBSONDocument | None]:
        """The entries, each once, without end; None where there is no more yet.

        Raises:
            PyMongoError: the server does not answer, or the user has no right to read `local`.
            ServerError: entries are lost.
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
                        "a transaction of several entries began just before the backup; run the "
                        "same command again"
                    )
                self._since, self._has_begun = entry["ts"], True
                self.reached = timestamp(self._since)
            yield entry

    def _opened(self) -> Iterator[RawBSONDocument | None]:
        """From the last entry that was read, which must still be there."""
        if not reaches(self._client, timestamp(self._since)):
            raise self._lost("it has become too long for its size")
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
                    raise self._lost("another member took over that did not have all of it")
                expected = None
            yield None
        if expected is not None:
            raise self._lost("another member took over that did not have all of it")
        yield from self._opened()

    def _lost(self, why: str) -> ServerError:
        return ServerError(
            f"the oplog of {self._connection.shown} no longer has what came after "
            f"{self.reached}, because {why}: the backup cannot be made whole; run it again when "
            "less is written, with more workers, or with a larger oplog (replSetResizeOplog)"
        )


def kept(entry: RawBSONDocument, wanted: Wanted) -> bytes | None:
    """What a backup of those collections needs of an entry; None for nothing.

    Raises:
        ServerError: it cannot be replayed.
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
    """Whether it belongs to a transaction of which that oplog has not all."""
    # Inserts of one command are an applyOps too, each of which stands for itself.
    if not _is_of_transaction(entry) or "multiOpType" in entry or "prevOpTime" not in entry:
        return False
    return bool(Timestamp(0, 0) < entry["prevOpTime"]["ts"] < first)


def _is_of_transaction(entry: Entry) -> bool:
    return command_of(entry) in ("applyOps", *_ENDS)


def _is_of_several(entry: Entry) -> bool:
    """Whether it is one of several entries of one transaction, of which each is needed."""
    before = entry.get("prevOpTime")
    follows = before is not None and before["ts"] != Timestamp(0, 0)
    return follows or "partialTxn" in entry["o"] or "prepare" in entry["o"]


def _is_wanted(operation: Entry, wanted: Wanted) -> bool:
    if operation["op"] not in OPERATIONS:
        return False  # also within a transaction
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
            f"{name} of {told} happened during the backup, and an oplog cannot be replayed across "
            "that; run the same command again, or use --consistency snapshot"
        )
    return found


T = TypeVar("T")


def decoded(raw: bytes) -> Entry:
    """Return an entry, whose documents stay bytes.

    Raises:
        FormatError: it is no document.
    """
    try:
        return cast("Entry", RawBSONDocument(raw, STRICT))
    except BSONError as error:
        raise FormatError(f"it is not valid BSON: {error}") from None


def field(document: object, name: str, kind: type[T]) -> T:
    """Return a field of an entry that may come from anywhere.

    Raises:
        FormatError: there is none of that name and type.
    """
    try:
        found = document.get(name) if isinstance(document, Mapping) else None
    except BSONError as error:
        raise FormatError(f"it is not valid BSON: {error}") from None
    if not isinstance(found, kind):
        raise FormatError(f"it has no field {name} as it should")
    return found


def namespace_of(text: str) -> Namespace:
    """Return the namespace of that name.

    Raises:
        FormatError: no collection can be called so.
    """
    database, _dot, collection = text.partition(".")
    if not database or not collection:
        raise FormatError(f"{text!r} is not the name of a collection")
    return Namespace(database, collection)


def command_of(operation: Entry) -> str:
    """Return the name of the command that an operation is; "" for any other operation.

    Raises:
        FormatError: it should be one, and is malformed.
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
