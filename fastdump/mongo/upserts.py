"""Compose statements that replace or insert documents from the documents' own bytes.

A document is replaced by `{q: {_id: {$eq: …}}, u: document, upsert: true}`. `$eq` is needed because
an `_id` that is a document with names like `$ref` is not a valid query. For a sharded collection,
`q` also contains the fields of the shard key, without which mongos refuses the statement.

Two kinds of documents cannot be used as `u`, although they can be inserted: those with a name that
begins with a dollar at the top level (which MongoDB 5.0 and later store), and those with a
timestamp of zero there, which the server would set. They are sent as a literal in a pipeline, where
the server does not change them. But a pipeline must not replace a document by one in which a name
occurs twice: that crashes MongoDB 5.0.4 and 6.0.5, and newer servers refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fastdump.codec.bson import Span, document, element, elements
from fastdump.mongo import timestamps
from fastdump.mongo.documents_by_id import ID_VALUE, identity

__all__ = [
    "MAX_RUN_BYTES",
    "MAX_RUN_DOCUMENTS",
    "Upserts",
    "deletion",
    "has_dollar",
    "is_replaceable",
    "key_of",
    "query",
    "upserts",
]

MAX_RUN_BYTES = 8 * 1024 * 1024
"""Largest size of a command in bytes, unless one document alone is larger: PyMongo's limit for a
command is 16 MiB."""

MAX_RUN_DOCUMENTS = 100_000
"""Largest number of documents in a command: the server's maxWriteBatchSize."""

_DOCUMENT, _ARRAY = 0x03, 0x04
_NULL = b"\x0a"

# A type and a name that begins with a dollar. Also matches inside of other values, so each match
# must be checked.
_DOLLAR = re.compile(rb"[\x01-\x13\x7f\xff]\$")


@dataclass
class Upserts:
    """The statements of one `update` command."""

    statements: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    """The document that each statement writes."""
    size: int = 0
    """Size of all statements in bytes."""


def upserts(run: bytes, found: Sequence[Span], shard_key: Sequence[bytes]) -> Iterator[Upserts]:
    """Yield statements that write documents of the run, in batches that fit into a command."""
    batch = Upserts()
    for span in found:
        statement = document(
            b"\x03q\0" + query(run, span, shard_key), _new(run, span), b"\x08upsert\0\x01"
        )
        if batch.statements and (
            batch.size + len(statement) > MAX_RUN_BYTES
            or len(batch.statements) >= MAX_RUN_DOCUMENTS
        ):
            yield batch
            batch = Upserts()
        batch.statements.append(statement)
        batch.spans.append(span)
        batch.size += len(statement)
    if batch.statements:
        yield batch


def deletion(run: bytes, span: Span, shard_key: Sequence[bytes]) -> bytes:
    """Return a `delete` statement for the target's document with the same `_id`."""
    return document(b"\x03q\0" + query(run, span, shard_key), b"\x10limit\0\x01\0\0\0")


def query(run: bytes, span: Span, shard_key: Sequence[bytes]) -> bytes:
    """Return the query for the `_id` of a document, and for its values of the shard key.

    A missing field is queried as null, which finds it.
    Source: https://www.mongodb.com/docs/manual/core/sharding-set-missing-shard-key-fields/
    """
    own = identity(run, span)
    parts = [_equal(b"_id", own[:1] + own[ID_VALUE:])]
    parts += [
        _equal(path, value)
        for path, value in zip(shard_key, key_of(run, span, shard_key), strict=True)
        if value[0] != _ARRAY
    ]
    return document(*parts)


def key_of(run: bytes, span: Span, shard_key: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the values of a document at those paths, each as its type byte and its bytes."""
    return tuple(_value(run, span[0], path) for path in shard_key)


def _value(run: bytes, start: int, path: bytes) -> bytes:
    name, _dot, rest = path.partition(b".")
    found = element(run, name, start)
    if found is None:
        return _NULL
    # A path through an array has no single value; shard keys contain no arrays.
    if not rest or found.kind == _ARRAY:
        return run[found.start : found.start + 1] + run[found.value : found.end]
    return _value(run, found.value, rest) if found.kind == _DOCUMENT else _NULL


def _equal(path: bytes, value: bytes) -> bytes:
    return b"\x03" + path + b"\0" + document(value[:1] + b"$eq\0" + value[1:])


def _new(run: bytes, span: Span) -> bytes:
    """Return the `u` of a statement: the new document, as it is or in a pipeline."""
    whole = run[span[0] : span[1]]
    if not _needs_pipeline(run, span):
        return b"\x03u\0" + whole
    stage = document(b"\x03$replaceWith\0" + document(b"\x03$literal\0" + whole))
    return b"\x04u\0" + document(b"\x030\0" + stage)


def _needs_pipeline(run: bytes, span: Span) -> bool:
    return timestamps.has_empty(run, span) or has_dollar(run, span)


def has_dollar(run: bytes, span: Span) -> bool:
    """Return True if a name at the top level of a document begins with a dollar."""
    if not _DOLLAR.search(run, *span):
        return False
    return any(found.name[:1] == b"$" for found in elements(run, span[0]))


def is_replaceable(run: bytes, span: Span) -> bool:
    """Return True if an update can replace another document by this one."""
    if not _needs_pipeline(run, span):
        return True
    names = [found.name for found in elements(run, span[0])]
    return len(names) == len(set(names))
