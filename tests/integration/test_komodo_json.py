"""Komodo's own backups are restored, and ours in its layout come back as they were."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import (
    Binary,
    Code,
    CodecOptions,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.raw_bson import RawBSONDocument

import fastdump
from benchmarks.shapes import insert
from fastdump.demo.compare import differences, state
from fastdump.demo.komodo import generate
from fastdump.engine import planner
from tests.conftest import Run, Server

OID = "0123456789abcdef01234567"

# As Komodo writes them, and every other form of Extended JSON, canonical, relaxed and legacy.
FORMS: list[tuple[str, Any]] = [
    (f'{{"$oid":"{OID}"}}', ObjectId(OID)),
    ('{"$date":{"$numberLong":"1735689600123"}}', datetime(2025, 1, 1, 0, 0, 0, 123000)),
    ('{"$date":{"$numberLong":"-1"}}', datetime(1969, 12, 31, 23, 59, 59, 999000)),
    ('{"$date":"2025-01-01T01:00:00+01:00"}', datetime(2025, 1, 1)),
    ('{"$date":"2025-01-01T00:00:00.5Z"}', datetime(2025, 1, 1, 0, 0, 0, 500000)),
    ("5", 5),
    ("-5", -5),
    ("2147483647", 2147483647),
    ("-2147483648", -2147483648),
    ("2147483648", Int64(2147483648)),
    ("1735689600123", Int64(1735689600123)),
    ("1.0", 1.0),
    ("-0.0", -0.0),
    ("1e5", 1e5),
    ("0.1", 0.1),
    ("null", None),
    ("true", True),
    ('"tex\\u0074 \\ud83d\\ude00 \\u0000 日本"', "text 😀 \0 日本"),
    ('[1,[2,{"$numberLong":"3"}],{}]', [1, [2, Int64(3)], {}]),
    ('{"a":{"b":{"$numberInt":"7"}},"c":[]}', {"a": {"b": 7}, "c": []}),
    ('{"$numberInt":"5"}', 5),
    ('{"$numberLong":"5"}', Int64(5)),
    ('{"$numberDouble":"5"}', 5.0),
    ('{"$numberDouble":"Infinity"}', math.inf),
    ('{"$numberDouble":"-Infinity"}', -math.inf),
    ('{"$numberDecimal":"1.50"}', Decimal128("1.50")),
    ('{"$binary":{"base64":"AQID","subType":"00"}}', b"\1\2\3"),
    ('{"$binary":{"base64":"AQID","subType":"80"}}', Binary(b"\1\2\3", 0x80)),
    ('{"$binary":"AQID","$type":"05"}', Binary(b"\1\2\3", 5)),
    (
        '{"$uuid":"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}',
        Binary(bytes.fromhex("73ffd26444b34c6990e8e7d1dfc035d4"), 4),
    ),
    ('{"$timestamp":{"t":7,"i":8}}', Timestamp(7, 8)),
    ('{"$regularExpression":{"pattern":"^a","options":"ix"}}', Regex("^a", "ix")),
    ('{"$regex":"^a","$options":"i"}', Regex("^a", "i")),
    ('{"$code":"f()"}', Code("f()")),
    ('{"$code":"f()","$scope":{"x":{"$numberLong":"1"}}}', Code("f()", {"x": Int64(1)})),
    ('{"$minKey":1}', MinKey()),
    ('{"$maxKey":1}', MaxKey()),
    ('{"$undefined":true}', None),
    ('{"$symbol":"s"}', "s"),
    ('{"$ref":"c","$id":5}', {"$ref": "c", "$id": 5}),
    ('{"$unknown":1}', {"$unknown": 1}),
]

BAD = [
    ("no json", "not a valid document"),
    ('{"_id":1', "not a valid document"),
    ("[1]", "not a JSON object"),
    ('"text"', "not a JSON object"),
    ('{"x":1}', "no _id"),
    ('{"_id":{"$oid":"short"}}', "ObjectId"),
    ('{"_id":{"$oid":null}}', "must be text"),
    ('{"_id":1,"x":18446744073709551615}', "8-byte"),
    ('{"_id":1,"x":NaN}', "not a valid document"),
    ('{"_id":1,"x":{"$date":"yesterday"}}', "not a valid document"),
    ('{"_id":1,"a\\u0000b":1}', "document"),
    ('{"_id":1,"x":{"$binary":5}}', ""),
    ('{"_id":1,"x":{"$numberLong":"1.5"}}', ""),
]


def komodo_backup(folder: Path, name: str, **collections: list[str]) -> Path:
    """A folder as Komodo's own backup makes it: gzip at level 9, no manifest, Stats beside it."""
    backup = folder / name
    backup.mkdir(parents=True)
    for collection, lines in collections.items():
        file = (folder if collection == "Stats" else backup) / f"{collection}.gz"
        file.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), 9))
    return backup


def line(number: int, value: str = "1") -> str:
    return f'{{"_id":{{"$oid":"{number:024x}"}},"value":{value}}}'


def test_every_form_of_every_type(server: Server, tmp_path: Path) -> None:
    lines = [line(number, form) for number, (form, _value) in enumerate(FORMS)]
    komodo_backup(tmp_path, "2025-08-12_03-00-01", Types=lines)
    target = server.new_database()
    report = fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    assert (report.complete, report.inserted) == (True, len(FORMS))
    with server.client() as client:
        options: Any = CodecOptions(RawBSONDocument)
        raw: Any = client[target].get_collection("Types", options)
        stored = [document.raw for document in raw.find({}).sort("_id", 1)]
    expected = [
        bson.encode({"_id": ObjectId(f"{number:024x}"), "value": value})
        for number, (_form, value) in enumerate(FORMS)
    ]
    for (form, _value), found, wanted in zip(FORMS, stored, expected, strict=True):
        assert found == wanted, form


def test_a_file_that_komodos_own_backup_wrote(server: Server, tmp_path: Path) -> None:
    """Of `all_types`, by Komodo 2; what it loses itself is not there to be restored."""
    backup = tmp_path / "2026-11-24_13-26-28"
    backup.mkdir()
    shutil.copy(Path(__file__).parents[1] / "data/komodo/Types.gz", backup)
    target = server.new_database()
    report = fastdump.restore(server.uri, target_db=target, folder=tmp_path)
    assert (report.complete, report.inserted) == (True, len(all_types()))
    with server.client() as client:
        options: Any = CodecOptions(RawBSONDocument)
        raw: Any = client[target].get_collection("Types", options)
        stored = [document.raw for document in raw.find({}).sort("_id", 1)]
    for found, written in zip(stored, all_types(), strict=True):
        assert found == bson.encode({k: as_komodo_writes(v) for k, v in written.items()})


def as_komodo_writes(value: Any) -> Any:
    """Small 64-bit integers lose their width, NaN and infinities become null, bytes a list."""
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if type(value) is bytes:
        return list(value)
    if isinstance(value, Code):
        return Code(value, as_komodo_writes(value.scope))
    if isinstance(value, list):
        return [as_komodo_writes(one) for one in value]
    if isinstance(value, dict):
        return {name: as_komodo_writes(one) for name, one in value.items()}
    return value


@pytest.mark.parametrize("workers", [1, 3])
def test_a_komodo_backup_with_its_latest_stats(
    server: Server, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    stats = [line(number, json.dumps("x" * 500)) for number in range(20_000)]
    komodo_backup(
        tmp_path, "2025-08-12_03-00-01", Server=[line(1), "", line(2)], Empty=[], Stats=stats
    )
    target = server.new_database()
    report = fastdump.restore(server.uri, target_db=target, folder=tmp_path, workers=workers)
    assert (report.complete, report.workers) == (True, workers)
    with server.client() as client:
        counts = {name: client[target][name].count_documents({}) for name in ("Server", "Stats")}
        assert counts == {"Server": 2, "Stats": 20_000}
        assert "Empty" in client[target].list_collection_names()
    again = fastdump.restore(server.uri, target_db=target, folder=tmp_path, workers=workers)
    assert (again.unchanged, again.inserted, again.replaced) == (20_002, 0, 0)
    verified = fastdump.verify(tmp_path, workers=workers)
    assert (verified.intact, verified.collections[0].documents) == (True, 0)


def test_lines_that_are_no_documents(fastdump: Run, server: Server, tmp_path: Path) -> None:
    lines = [line(1), *(bad for bad, _said in BAD), line(2)]
    backup = komodo_backup(tmp_path, "2025-08-12_03-00-01", Broken=lines, Good=[line(3)])
    target = server.new_database()
    arguments = ("--target-uri", server.uri, "--target-db", target, "-f", tmp_path, "-y")
    done = fastdump("restore", *arguments)
    assert done.code == 1
    assert "Traceback" not in done.err
    for number, (_bad, said) in enumerate(BAD[:10], 2):
        (named,) = [
            one for one in done.err.splitlines() if f"at line {number} of {backup}/Broken.gz" in one
        ]
        assert said in named
    assert f"{len(BAD)} documents" in done.err
    with server.client() as client:
        assert client[target]["Broken"].count_documents({}) == 2
        assert client[target]["Good"].count_documents({}) == 1
    assert "line 2" in fastdump("verify", "-f", tmp_path).err + fastdump("verify", backup).out


@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_a_stats_file_that_was_cut(
    fastdump: Run, server: Server, tmp_path: Path, kept: float
) -> None:
    """What Komodo leaves behind when a cursor dies on it."""
    stats = [line(number, json.dumps(f"{number * 7919:032x}")) for number in range(30_000)]
    komodo_backup(tmp_path, "2025-08-12_03-00-01", Server=[line(1)], Stats=stats)
    file = tmp_path / "Stats.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept) if kept < 1 else int(kept)])
    target = server.new_database()
    arguments = ("--target-uri", server.uri, "--target-db", target, "-f", tmp_path, "-y")
    done = fastdump("restore", *arguments)
    assert done.code == 1
    assert f"fastdump: {file}: " in done.err
    assert "what came before that was restored" in done.err
    with server.client() as client:
        assert client[target]["Server"].count_documents({}) == 1
        restored = client[target]["Stats"].count_documents({})
    assert restored <= 30_000 * kept
    assert restored >= 30_000 * kept - 4_000 or kept == 5


def test_komodos_and_ours_in_one_folder(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "Server", [{"_id": 1, "from": "fastdump"}])
    komodo_backup(tmp_path, "2020-08-12_03-00-01", Server=[line(1)], Stats=[line(2)])
    ours = fastdump.backup(server.uri, db=database, folder=tmp_path, max_backups=0)
    target = server.new_database()
    assert fastdump.restore(server.uri, target_db=target, folder=tmp_path).complete
    with server.client() as client:
        assert client[target]["Server"].find_one() == {"_id": 1, "from": "fastdump"}
        assert client[target]["Stats"].count_documents({}) == 1
        fastdump.restore(server.uri, target_db=target, folder=tmp_path, name="2020-08-12_03-00-01")
        assert client[target]["Server"].count_documents({}) == 2
    assert [one.name for one in fastdump.list_backups(tmp_path)] == [
        "2020-08-12_03-00-01",
        ours.name,
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_our_own_json_comes_back_exactly(
    server: Server, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "INLINE_BYTES", 0)
    monkeypatch.setattr(planner, "CHUNK_BYTES", 1_000_000)
    monkeypatch.setattr(planner, "MIN_CHUNK_BYTES", 500_000)
    database, target = server.new_database(), server.new_database()
    generate(server.connection, database, 8_000_000)
    insert(server.connection, database, "Types", all_types())
    with server.client() as client:
        client[database].create_collection("View", viewOn="Types", pipeline=[])
        client[database].create_collection("Empty")
    report = fastdump.backup(
        server.uri,
        db=database,
        folder=tmp_path,
        workers=workers,
        writing=fastdump.WriteOptions(layout="komodo-json"),
    )
    assert report.workers == workers
    assert fastdump.verify(tmp_path, workers=workers).problems == ()
    restored = fastdump.restore(server.uri, target_db=target, folder=tmp_path, workers=workers)
    assert (restored.complete, restored.documents) == (True, report.documents)
    assert differences(state(server.connection, database), state(server.connection, target)) == []


def all_types() -> list[dict[str, Any]]:
    """Whatever JSON could lose; NaN of one kind only, since Extended JSON knows no other."""
    values: list[Any] = [value for _form, value in FORMS]
    values += [math.nan, [math.nan, {"x": -math.inf}], Int64(-5), Int64(0), -1, 1e300, 1e16]
    return [
        {"_id": ObjectId(f"{number:024x}"), "value": value, "nothing": None}
        for number, value in enumerate(values)
    ]


def test_what_is_written_is_what_komodo_writes(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    document = {
        "_id": ObjectId(OID),
        "name": 'a\n"b"',
        "small": 5,
        "large": Int64(1735689600123),
        "wide": Int64(5),
        "half": 0.5,
        "one": 1.0,
        "at": datetime(2025, 1, 1, tzinfo=UTC),
        "none": None,
        "list": [True, {"x": 1}],
    }
    insert(server.connection, database, "c", [document])
    report = fastdump.backup(
        server.uri,
        db=database,
        folder=tmp_path,
        writing=fastdump.WriteOptions(layout="komodo-json"),
    )
    content = (Path(report.path) / "c.gz").read_bytes()
    # Komodo's reader sees the first member only: there must be no other.
    inflate = zlib.decompressobj(wbits=31)
    text = inflate.decompress(content)
    assert inflate.eof
    assert inflate.unused_data == b""
    assert text.decode() == (
        f'{{"_id":{{"$oid":"{OID}"}},"name":"a\\n\\"b\\"","small":5,"large":1735689600123,'
        '"wide":{"$numberLong":"5"},"half":0.5,"one":1.0,'
        '"at":{"$date":{"$numberLong":"1735689600000"}},"none":null,"list":[true,{"x":1}]}\n'
    )


def test_what_json_cannot_carry_is_said(fastdump: Run, server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    insert(server.connection, database, "Ids", [{"_id": 1}, {"_id": ObjectId()}, {"_id": "x"}])
    insert(server.connection, database, "Plain", [{"_id": ObjectId()}])
    with server.client() as client:
        client[database]["Plain"].create_index("name")
        client[database].create_collection("Capped", capped=True, size=4096)
        client[database]["Literal"].insert_many(
            {"_id": ObjectId(), "x": [value]} for value in (
                {"$oid": "0" * 24}, {"$date": "2020-01-01"}, {"$numberLong": "5"},
                {"$regex": "a", "y": 1}, {"$other": 1}, {"y": {"z$": "\n$HOME"}})
        )  # fmt: skip
        # A symbol, which the driver reads as text, and text that is no UTF-8.
        for field in (b"\x0es\0\x02\0\0\0x\0", b"\x02s\0\x02\0\0\0\xff\0"):
            body = b"\x07_id\0" + ObjectId().binary + field + b"\0"
            raw = (len(body) + 4).to_bytes(4, "little") + body
            client[database]["Odd"].insert_one(bson.raw_bson.RawBSONDocument(raw))
    done = fastdump(
        "backup", "--uri", server.uri, "--db", database, "-f", tmp_path, "--layout", "komodo-json"
    )
    assert done.code == 0, done.err
    assert "Ids: 2 documents have an _id that is not an ObjectId" in done.err
    assert (
        "Odd: 2 documents will not be restored exactly, because they contain deprecated" in done.err
    )
    assert "Literal: 4 documents will not be restored exactly" in done.err
    assert "the indexes of Plain" in done.err
    assert "the options of Capped" in done.err
    assert "note: Plain: 1" not in done.err
