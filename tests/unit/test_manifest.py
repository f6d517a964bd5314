from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdump.codec.definitions import check
from fastdump.errors import FormatError
from fastdump.layouts import manifest
from fastdump.model import (
    Catalog,
    ClusterTime,
    Collection,
    CollectionKind,
    Consistency,
    Contents,
    ServerInfo,
    StoredFile,
)
from fastdump.mongo import indexes
from fastdump.report import CollectionReport

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OPTIONS = bson.encode({"validator": {"a": {"$regex": "@", "$ne": 1}}, "überall": "日本"})
INDEX = bson.encode({"v": 2, "key": {"b": 1, "a": -1.0}, "name": "b_1"})


def content(**changes: Any) -> bytes:
    collection = Collection("db", "a/b", CollectionKind.COLLECTION, OPTIONS, (INDEX,), 5, 50)
    report = CollectionReport(collection.namespace, CollectionKind.COLLECTION, 5, 50, 20, 0.1)
    catalog = Catalog("db", ServerInfo("h:1", "6.0.5", "standalone"), (collection,))
    entry = manifest.entry(collection, "a%2Fb.gz", report, "00")
    consistency = Consistency("snapshot", ClusterTime(1234, 5).moment, ClusterTime(1234, 5))
    written = json.loads(
        manifest.write(manifest.describe(catalog, "komodo", NOW, NOW, consistency, [entry]))
    )
    written["collections"][0] |= changes.pop("collection", {})
    return json.dumps(written | changes).encode()


def test_what_is_written_is_read() -> None:
    read = manifest.read(content())
    assert read.database == "db"
    at = ClusterTime(1234, 5)
    assert read.how_consistent == Consistency("snapshot", at.moment, at)
    stored = manifest.stored(read, read.collections[0], Path("/f"), latest_only=False)
    assert stored.file == StoredFile(Path("/f/a%2Fb.gz"), 20)
    assert stored.contents == Contents(5, 50, "00")
    assert (stored.options, stored.indexes) == (OPTIONS, (INDEX,))


def test_a_manifest_from_before_definitions_were_kept_as_bson_is_read() -> None:
    read = manifest.read(content(collection={"bson": None}))
    stored = manifest.stored(read, read.collections[0], Path("/f"), latest_only=False)
    assert (stored.options, stored.indexes) == (OPTIONS, (INDEX,))


@pytest.mark.parametrize("place", range(0, len(INDEX), 3))
def test_a_damaged_definition_is_refused_or_a_document(place: int) -> None:
    damaged = bytearray(INDEX)
    damaged[place] ^= 0x10
    exact = {"options": "BQAAAAA=", "indexes": [b64encode(damaged).decode()]}
    read = manifest.read(content(collection={"bson": exact}))
    stored = manifest.stored(read, read.collections[0], Path("/f"), latest_only=False)
    assert stored.indexes == (bytes(damaged),)
    try:
        check(stored)
        indexes.described(stored.indexes[0])
    except FormatError as error:
        assert str(error)


def test_unknown_fields_are_those_of_a_later_version_and_do_no_harm() -> None:
    assert manifest.read(content(later={"x": 1})).format == manifest.FORMAT


def test_a_later_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(FormatError, match="newer fastdump"):
        manifest.read(content(format=manifest.FORMAT + 1))


@pytest.mark.parametrize(
    "file",
    [
        "../evil.gz",
        "/etc/passwd",
        "a/b/c.gz",
        "a//b.gz",
        "a/..",
        "..",
        ".",
        "",
        "x\0.gz",
        "a/../../b.gz",
    ],
)
def test_a_file_name_never_leads_outside_the_folder(file: str) -> None:
    read = manifest.read(content(collection={"file": file}))
    with pytest.raises(FormatError, match="outside"):
        manifest.stored(read, read.collections[0], Path("/f"), latest_only=False)


@pytest.mark.parametrize(
    "change",
    [
        {"documents": -1},
        {"raw_bytes": 2**63},
        {"documents": "many"},
        {"type": "program"},
        {"name": None},
        {"indexes": None},
    ],
)
def test_a_manifest_that_lies_about_types_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        manifest.read(content(collection=change))


@given(st.binary(max_size=100))
def test_garbage_is_no_manifest(garbage: bytes) -> None:
    with pytest.raises(FormatError):
        manifest.read(garbage)


@given(st.integers(0, 400), st.integers(0, 7))
def test_a_flipped_bit_is_no_crash(place: int, bit: int) -> None:
    damaged = bytearray(content())
    damaged[place % len(damaged)] ^= 1 << bit
    with suppress(FormatError):
        manifest.read(bytes(damaged))


def test_deep_nesting_is_no_crash() -> None:
    with pytest.raises(FormatError):
        manifest.read(content()[:-1] + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


FIRST_READS = """
import sys, threading
from fastdump.layouts import manifest
content = open(sys.argv[1], "rb").read()
sys.setswitchinterval(1e-6)
begin = threading.Barrier(16)
def read():
    begin.wait()
    manifest.read(content)
threads = [threading.Thread(target=read) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.timeout(120)
def test_threads_may_read_their_first_manifest_at_the_same_time(tmp_path: Path) -> None:
    """A repository is read so. Some runs ended with a segmentation fault."""
    path = tmp_path / "manifest.json"
    path.write_bytes(content())
    for _ in range(12):
        done = subprocess.run([sys.executable, "-c", FIRST_READS, path], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
