"""Dumps that are cut or damaged anywhere: an error that names the file, never a wrong document."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastdump.errors import FastdumpError, FormatError
from fastdump.layouts import mongodump_metadata as metadata
from fastdump.layouts.archive import Archive
from fastdump.layouts.mongodump import MongodumpFolder
from fastdump.layouts.segments import FileReader
from fastdump.model import Namespace, StoredCollection, StoredFile
from fastdump.mongo import indexes, schema

DATA = Path(__file__).parents[1] / "data/mongodump"
PLAIN = b"".join(bson.encode({"_id": n, "x": "y" * 20}) for n in range(40))
ORIGINALS = {
    "c.bson": PLAIN,
    "c.bson.gz": gzip.compress(PLAIN),
}
ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, lost: list[str]) -> bytes:
    """Everything that can be read of a file of documents."""
    size = path.stat().st_size
    stored = StoredCollection(Namespace("db", "c"), file=StoredFile(path, size))
    try:
        reader = FileReader()
        return b"".join(
            batch.data
            for part in reader.segments(stored)
            for batch in reader.batches(part.place, lost)
        )
    except FastdumpError as error:
        assert str(path) in str(error)
        lost.append(str(error))
        return b""


@ONE_FILE
@given(data=st.data(), name=st.sampled_from(sorted(ORIGINALS)))
def test_a_cut_file(data: st.DataObject, name: str, tmp_path: Path) -> None:
    original = ORIGINALS[name]
    path = tmp_path / name
    path.write_bytes(original[: data.draw(st.integers(1, len(original) - 1))])
    lost: list[str] = []
    found = read(path, lost)
    assert PLAIN.startswith(found)
    # A cut between two documents of a plain file looks like its end.
    assert lost or (name == "c.bson" and found == path.read_bytes())


@ONE_FILE
@given(data=st.data())
def test_a_flipped_bit_of_gzip(data: st.DataObject, tmp_path: Path) -> None:
    original = bytearray(ORIGINALS["c.bson.gz"])
    bit = data.draw(st.integers(0, 8 * len(original) - 1))
    original[bit // 8] ^= 1 << bit % 8
    path = tmp_path / "c.bson.gz"
    path.write_bytes(original)
    lost: list[str] = []
    found = read(path, lost)
    assert lost or found == PLAIN


@ONE_FILE
@given(content=st.binary(max_size=200), name=st.sampled_from(sorted(ORIGINALS)))
def test_any_bytes_are_documents_or_refused(content: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    read(path, [])


def describe(content: bytes) -> None:
    """What a restore looks at before it begins."""
    found = metadata.read(content)
    schema.fields(found.options)
    for index in found.indexes:
        indexes.converted(indexes.described(index))


WORDS = st.sampled_from(
    [b'{"options":', b'{"indexes":[', b'{"key":{"a":1},"name":"a"}', b'"$date":', b"}", b"]", b",",
     b'{"$numberLong":', b"1e999", b"NaN", b'"x"', b"null", b'"\\ud800"', b"[[[[", b'{"$oid":"',
     b"\xff"]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=60), st.lists(WORDS, max_size=8).map(b"".join)))
def test_any_metadata_is_read_or_refused(content: bytes) -> None:
    try:
        describe(content)
    except FormatError as error:
        assert str(error)


@given(data=st.data())
def test_damaged_metadata_of_mongodump(data: st.DataObject) -> None:
    found = sorted((DATA / "plain/dumped").glob("*.metadata.json"))
    content = bytearray(data.draw(st.sampled_from(found)).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        describe(bytes(content))
    except FormatError as error:
        assert str(error)


@ONE_FILE
@given(data=st.data(), name=st.sampled_from(["dumped.archive", "dumped.archive.gz"]))
def test_a_damaged_archive(data: st.DataObject, name: str, tmp_path: Path) -> None:
    content = bytearray((DATA / name).read_bytes())
    content = content[: data.draw(st.integers(4, len(content)))]
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(content)
    try:
        found = Archive(str(path))
        for event in found.blocks(found.find(None)):
            assert event.namespace.collection
    except FastdumpError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("form", ["plain", "gzip"])
def test_a_folder_with_anything_in_it(form: str, tmp_path: Path) -> None:
    """What mongodump did not write there is left alone."""
    folder = tmp_path / "dump/db"
    shutil.copytree(DATA / form / "dumped", folder)
    for name in ("notes.txt", ".hidden.bson.swp", "x.json"):
        (folder / name).write_text("?")
    (folder / "folder.bson").mkdir()
    (folder / "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd.bson").write_bytes(bson.encode({"_id": 1}))
    found = MongodumpFolder.recognised(tmp_path / "dump")
    assert found is not None
    names = {one.name for one in found.find(None).collections}
    assert "../../etc/passwd" in names
    assert not names & {"notes", "folder", "x"}
