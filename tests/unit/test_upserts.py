"""Statements that write documents: what they ask for, and what they write."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Regex, Timestamp
from bson.raw_bson import RawBSONDocument

from fastdump.codec.bson import spans
from fastdump.mongo import upserts as module
from fastdump.mongo.upserts import deletion, is_replaceable, upserts

Document = dict[str, Any]


def statement(document: Document, *shard_key: bytes) -> Document:
    run = bson.encode(document)
    (batch,) = upserts(run, spans(run), shard_key)
    return bson.decode(batch.statements[0])


@pytest.mark.parametrize(
    "identity", [1, "text", None, {"$ref": "c", "$id": 1}, Regex("a", "i"), Timestamp(0, 0)]
)
def test_a_document_is_replaced_by_its_id(identity: object) -> None:
    document = {"_id": identity, "x": 1}
    expected = {"q": {"_id": {"$eq": identity}}, "u": document, "upsert": True}
    assert bson.encode(statement(document)) == bson.encode(expected)


@pytest.mark.parametrize(
    "document",
    [
        {"_id": 1, "$set": {"x": 1}},
        {"_id": 1, "$price": 1},
        {"_id": 1, "a": 1, "$": 1},
        {"_id": 1, "t": Timestamp(0, 0)},
    ],
)
def test_what_an_update_would_misread_is_a_literal(document: Document) -> None:
    assert statement(document)["u"] == [{"$replaceWith": {"$literal": document}}]


@pytest.mark.parametrize(
    "document",
    [
        {"_id": 1, "a": {"$set": 1}},
        {"_id": 1, "a": "\t$\n$"},
        {"_id": 1, "a": bytes([2, 36, 0])},
        {"_id": 1, "a": {"t": Timestamp(0, 0)}},
    ],
)
def test_anything_else_is_sent_as_it_is(document: Document) -> None:
    assert bson.encode(statement(document)["u"]) == bson.encode(document)


def test_the_shard_key_is_asked_for() -> None:
    document = {"_id": 1, "a": {"b": "x", "n": 5}, "m": Regex("^a")}
    found = statement(document, b"a.b", b"m", b"a.none", b"none", b"m.below")
    assert found["q"] == {
        "_id": {"$eq": 1},
        "a.b": {"$eq": "x"},
        "m": {"$eq": Regex("^a")},
        "a.none": {"$eq": None},
        "none": {"$eq": None},
        "m.below": {"$eq": None},
    }
    run = bson.encode(document)
    deleted = bson.decode(deletion(run, (0, len(run)), (b"a.b",)))
    assert deleted == {"q": {"_id": {"$eq": 1}, "a.b": {"$eq": "x"}}, "limit": 1}


def test_no_array_is_asked_for() -> None:
    """Only an index may have one, and then it is no shard key."""
    document = {"_id": 1, "a": [{"b": 1}], "c": 2}
    found = statement(document, b"a", b"a.b", b"c")
    assert found["q"] == {"_id": {"$eq": 1}, "c": {"$eq": 2}}


def test_what_no_update_may_write() -> None:
    """A name that occurs twice, in a pipeline, crashes servers."""

    def replaceable(document: Document) -> bool:
        run = bson.encode(document).replace(b"twicf", b"twice")
        return is_replaceable(run, (0, len(run)))

    assert replaceable({"_id": 1, "twice": 1, "twicf": 2})
    assert replaceable({"_id": 1, "$x": 1, "a": {"twice": 1, "twicf": 2}})
    assert not replaceable({"_id": 1, "$x": 1, "twice": 1, "twicf": 2})
    assert not replaceable({"_id": 1, "t": Timestamp(0, 0), "twice": 1, "twicf": 2})


def test_statements_fit_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RUN_BYTES", 1000)
    monkeypatch.setattr(module, "MAX_RUN_DOCUMENTS", 4)
    sizes = [10] * 9 + [300, 300, 300, 5000, 10]
    run = b"".join(bson.encode({"_id": n, "x": "x" * size}) for n, size in enumerate(sizes))
    batches = list(upserts(run, spans(run), ()))
    assert [len(batch.statements) for batch in batches] == [4, 4, 3, 1, 1, 1]
    assert [span for batch in batches for span in batch.spans] == spans(run)
    ids = [RawBSONDocument(one)["u"]["_id"] for batch in batches for one in batch.statements]
    assert ids == list(range(len(sizes)))
