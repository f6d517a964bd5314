"""Options and indexes come back byte for byte, whatever a server accepts as such."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

import fastdump
from fastdump.demo.compare import differences, state
from fastdump.mongo.client import Client, open_database
from fastdump.report import LoadReport
from tests.conftest import Server

NAMES = st.sampled_from(["a", "b", "c.d", "_id", "é"])
NUMBERS = st.sampled_from([1, 1.0, bson.Int64(1), bson.Decimal128("1.0"), True, -0.0])
SCALARS: st.SearchStrategy[Any] = st.one_of(
    NUMBERS,
    st.sampled_from(
        [
            None, "x", bson.Regex("a", "i"), DatetimeMS(400_000_000_000_000),
            bson.ObjectId("5" * 24), bson.Timestamp(0, 0), bson.MinKey(), bson.MaxKey(),
            bson.Binary(b"x", 2), bson.Code("f"),
            {"$literal": 1}, {"$numberLong": "5"}, {"x": 1, "y": 1.0}, {"y": 1.0, "x": 1},
        ]
    ),
)  # fmt: skip
CONDITIONS: st.SearchStrategy[Any] = st.one_of(
    SCALARS,
    st.dictionaries(
        st.sampled_from(["$gt", "$lte", "$ne", "$eq", "$in", "$regex", "$options", "$exists"]),
        st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.sampled_from(["i", "@"])),
        min_size=1,
        max_size=3,
    ),
)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(NAMES, CONDITIONS, max_size=3),
    lambda inner: st.one_of(
        st.builds(lambda found: {"$and": found}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda found: {"$or": found}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=3,
)
EXPRESSIONS = st.builds(lambda value: {"$expr": {"$eq": ["$a", {"$literal": value}]}}, SCALARS)
STAGES = st.one_of(
    FILTERS.map(lambda found: {"$match": found}),
    st.builds(lambda name, value: {"$addFields": {name: value}}, st.just("n"), SCALARS),
    st.just({"$project": {"b": 1, "a": 1.0}}),
    st.just({"$sort": {"b": 1, "a": -1.0}}),
)
COLLATIONS = st.fixed_dictionaries(
    {"locale": st.sampled_from(["de", "en", "simple"])},
    optional={
        "strength": st.sampled_from([1, 2.0, bson.Int64(3)]),
        "numericOrdering": st.booleans(),
        "caseFirst": st.sampled_from(["upper", "off"]),
    },
)
DEFINITIONS = st.fixed_dictionaries(
    {},
    optional={
        "validator": st.one_of(FILTERS, EXPRESSIONS),
        "pipeline": st.lists(STAGES, min_size=1, max_size=2),
        "partial": FILTERS,
        "collation": COLLATIONS,
    },
)


def attempt(work: Callable[[], object]) -> None:
    """Do what the server may refuse."""
    with suppress(OperationFailure):
        work()


def define(client: Client, database: str, definitions: list[dict[str, Any]]) -> None:
    """Make of each definition whatever of it the server accepts."""
    target = open_database(client, database)
    for number, found in enumerate(definitions):
        collation = {"collation": found["collation"]} if "collation" in found else {}
        for part in ("validator", "pipeline"):
            if part in found:
                view = {"viewOn": "c"} if part == "pipeline" else {}
                command = {"create": f"{part}{number}", part: found[part], **view, **collation}
                attempt(lambda command=command: target.command(command))  # type: ignore[misc]
        index = {"name": f"i{number}", "key": {"x": 1.0, f"y{number}": -1}, **collation}
        if "partial" in found:
            index["partialFilterExpression"] = found["partial"]
        attempt(lambda index=index: target.command({"createIndexes": "c", "indexes": [index]}))  # type: ignore[misc]


@pytest.fixture(scope="module", params=["komodo", "mongodump", "archive", "copy"])
def layout(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as client:
        yield client


def there_and_back(
    server: Server, client: Client, database: str, folder: Path, layout: str
) -> None:
    restored = server.new_database()
    place = folder / uuid.uuid4().hex
    report: LoadReport
    if layout == "copy":
        report = fastdump.copy(server.uri, server.uri, db=database, target_db=restored)
    elif layout == "archive":
        fastdump.backup(
            server.uri, db=database, writing=fastdump.WriteOptions(out=str(place), layout=layout)
        )
        report = fastdump.restore(server.uri, name=place, target_db=restored)
    else:
        fastdump.backup(
            server.uri, db=database, folder=place, writing=fastdump.WriteOptions(layout=layout)
        )
        report = fastdump.restore(server.uri, folder=place, target_db=restored)
    try:
        assert report.complete, report.failures
        assert (
            differences(state(server.connection, database), state(server.connection, restored))
            == []
        )
    finally:
        client.drop_database(restored)


@settings(max_examples=12)
@given(definitions=st.lists(DEFINITIONS, min_size=1, max_size=12))
def test_any_definition_comes_back_byte_for_byte(
    server: Server,
    client: Client,
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    definitions: list[dict[str, Any]],
) -> None:
    database = server.new_database()
    define(client, database, definitions)
    open_database(client, database).command({"insert": "c", "documents": [{"_id": 1, "x": 1}]})
    there_and_back(server, client, database, tmp_path_factory.mktemp("b"), layout)
    client.drop_database(database)


def test_definitions_that_json_cannot_carry(
    server: Server, client: Client, tmp_path: Path, layout: str
) -> None:
    """The validator that lost its `$ne`, a repeated field, and text that is not UTF-8."""
    database = server.new_database()
    target = open_database(client, database)
    email = {"email": {"$regex": "@", "$options": "i", "$ne": "x@"}}
    text = bson.encode({"a": "caf_"}).replace(b"caf_", b"caf\xe9")
    one, two = bson.encode({"a": {"$gt": 1}}), bson.encode({"a": {"$lt": 1.0}})
    twice = (len(one) + len(two) - 5).to_bytes(4, "little") + one[4:-1] + two[4:-1] + b"\0"
    for name, validator in {"email": email, "text": RawBSONDocument(text)}.items():
        target.command({"create": name, "validator": validator})
    target.command({"create": "twice", "validator": RawBSONDocument(twice)})
    assert len(list(target.list_collection_names())) == 3
    there_and_back(server, client, database, tmp_path, layout)
