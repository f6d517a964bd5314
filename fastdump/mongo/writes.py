"""Send write commands for one collection, with runs of raw BSON as documents or statements.

In an OP_MSG the documents of an `insert` are simply their bytes one after another, exactly as in a
backup file; so are the statements of `update` and `delete`. Each command is sent again if the
connection is lost, because all writes of a restore can safely be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect, OperationFailure

from fastdump.codec.bson import Span
from fastdump.model import BUCKETS, Connection, LoadOptions, Namespace
from fastdump.mongo import timestamps
from fastdump.mongo.bucket_access import Access, access_to
from fastdump.mongo.client import Client, Document, open_database
from fastdump.mongo.confirming import check_confirmed, write_concern
from fastdump.mongo.documents_by_id import read_held
from fastdump.mongo.retry import PASSING_LABELS, WILL_PASS, passes, retrying

__all__ = ["DUPLICATE_KEY", "Verb", "Writer", "keeps_empty"]

DUPLICATE_KEY = 11000
"""Error code for an insert with an `_id`, or another unique value, that already exists."""

Verb = Literal["insert", "update", "delete"]
"""The name of a write command."""

_FIELDS: dict[Verb, str] = {"insert": "documents", "update": "updates", "delete": "deletes"}


class _Run(RawBSONDocument):
    """Run of documents that PyMongo sends as if it were one: its `raw` is sent unchanged."""

    def __init__(self, documents: bytes) -> None:
        # The base class's __init__ is not called, because it demands a single document.
        self._documents = documents

    @property
    def raw(self) -> bytes:
        return self._documents


_UNKNOWN_FIELD = frozenset({9, 40415})
"""Error codes of FerretDB 1 and MongoDB for a command with an unknown field."""


def keeps_empty(client: Client, namespace: Namespace) -> bool:
    """Test if the server has an option to leave timestamps of zero unchanged. Nothing is written.

    The version does not tell this: FerretDB 1.24 claims to be 7.0.42, and refuses the field.

    Raises:
        PyMongoError: the server does not answer.
    """
    database = open_database(client, namespace.database)
    command = access_to(client, namespace).command("insert")
    try:
        database.command({**command, "documents": [], timestamps.KEEP: True})
    except OperationFailure as error:
        if passes(error):
            raise
        return error.code not in _UNKNOWN_FIELD
    return True


class Writer:
    """Sender of write commands for one collection; for one thread.

    Args:
        client: the server.
        connection: its time of retrying.
        namespace: the collection.
        how: the user's choices for loading.
        keeps_empty: True if the server has an option to leave timestamps of zero unchanged.
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
        self.namespace = namespace
        self._concern = write_concern(client, connection, how.write_concern)
        self._of_documents: Document = {
            **({"bypassDocumentValidation": True} if how.bypass_validation else {}),
            **({timestamps.KEEP: True} if keeps_empty else {}),
        }
        self.interruptions = 0
        """Number of interruptions after which a command was sent again."""

    def send(self, verb: Verb, run: bytes) -> Document:
        """Send a command, unordered, and return the server's reply.

        Args:
            verb: the command.
            run: documents or statements, as raw BSON.

        Raises:
            PyMongoError: as the driver does.
            ServerError: too few members confirmed the write.
        """
        for attempt in retrying(self._connection, self._interrupted):
            with attempt:
                command = {**self._command(verb, run), "writeConcern": self._concern}
                reply = self._database.command(command)
                _check_passing(reply)
        check_confirmed(reply, self.namespace, self._concern)
        return reply

    def move(self, deletion: bytes, verb: Verb, run: bytes) -> Document | None:
        """Delete a document and write another in a transaction; return the server's error, or None.

        Raises:
            PyMongoError: as the driver does.
        """
        commands = [self._command("delete", deletion), self._command(verb, run)]

        def both(session: ClientSession) -> Document | None:
            for command in commands:
                reply = self._database.command(command, session=session)
                if errors := reply.get("writeErrors"):
                    session.abort_transaction()
                    return dict(errors[0])
            return None

        def attempt() -> Document | None:
            with self._database.client.start_session() as session:
                return session.with_transaction(both, write_concern=WriteConcern(**self._concern))

        return retrying(self._connection, self._interrupted)(attempt)

    def read_held(self, run: bytes, found: Sequence[Span]) -> set[bytes]:
        """Return the target's documents that have the same `_id`s.

        Raises:
            PyMongoError: as the driver does.
        """

        def attempt() -> set[bytes]:
            return read_held(self._database, self._access, run, found)

        return retrying(self._connection, self._interrupted)(attempt)

    def allow_mixed_schema(self) -> bool:
        """Make a time series accept buckets of mixed schema; return False if the server refuses.

        Raises:
            PyMongoError: the server does not answer.
        """
        series = self.namespace.collection.removeprefix(BUCKETS)
        command = {"collMod": series, "timeseriesBucketsMayHaveMixedSchemaData": True}
        try:
            retrying(self._connection, self._interrupted)(self._database.command, command)
        except OperationFailure as error:
            if passes(error):
                raise
            return False
        return True

    def _command(self, verb: Verb, run: bytes) -> Document:
        taken = {} if verb == "delete" else self._of_documents
        return {
            **self._access.command(verb),
            _FIELDS[verb]: [_Run(run)],
            "ordered": False,
            **taken,
        }

    @cached_property
    def _access(self) -> Access:
        return access_to(self._database.client, self.namespace)

    def _interrupted(self, _error: Exception) -> None:
        self.interruptions += 1


def _check_passing(reply: Document) -> None:
    """Check that a reply contains no error that will pass.

    Raises:
        AutoReconnect: it contains one, so that the same command may succeed later.
    """
    errors = [*reply.get("writeErrors", ())]
    if (concern := reply.get("writeConcernError")) is not None:
        errors.append(concern)
    has_label = not PASSING_LABELS.isdisjoint(reply.get("errorLabels", ()))
    for error in errors:
        if has_label or error.get("code") in WILL_PASS:
            raise AutoReconnect(error["errmsg"])
