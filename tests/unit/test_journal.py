from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import bson
import pytest

from fastdump.layouts.journal import JOURNAL, Finished, Journal, Planned, read_journal
from fastdump.model import (
    NO_OPTIONS,
    Catalog,
    Chunk,
    ChunkSource,
    ClusterTime,
    Collection,
    CollectionKind,
    Namespace,
    Part,
    Range,
    ServerInfo,
)

UUID = "ab" * 16
AT = ClusterTime(1234, 5)
NAME = Namespace("db", "c")
BY_RECORD = Chunk(
    NAME, ChunkSource(NAME, document_bytes=100, at=AT, uuid=UUID), Range(until=7), 0, 2, 300
)
BY_ID = Chunk(
    NAME,
    ChunkSource(
        NAME, document_bytes=100, query=NO_OPTIONS, by_filter=True, is_view=True, committed=True
    ),
    Range(lower=bson.encode({"_id": 1}), upper=bson.encode({"_id": 9})),
    1,
    2,
    300,
)
COLLECTION = Collection("db", "c", CollectionKind.COLLECTION, NO_OPTIONS, (), 6, 600, uuid=UUID)
PLANNED = Planned(
    "settings",
    datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    Catalog("db", ServerInfo("h:1", "6.0.5", "standalone"), (COLLECTION,)),
    (BY_RECORD, BY_ID),
    AT,
)
PART = Part(3, 300, 30, 0.5, member_digests=b"d" * 32)


def written(folder: Path) -> list[bytes]:
    journal = Journal(folder, PLANNED)
    for chunk in (BY_ID, BY_RECORD):
        journal.add(chunk, PART)
    journal.add(replace(BY_ID, namespace=Namespace("", "oplog")), PART)  # is read by every run
    journal.close()
    return (folder / JOURNAL).read_bytes().splitlines(keepends=True)


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    written(tmp_path)
    assert read_journal(tmp_path) == (PLANNED, [Finished(1, PART), Finished(0, PART)])


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_no_byte_of_a_damaged_line_is_used(tmp_path: Path, damaged: int) -> None:
    lines = written(tmp_path)
    expected = [Finished(1, PART), Finished(0, PART)]
    if damaged:
        del expected[damaged - 1]
    line = lines[damaged]
    for place in range(len(line) - 1):
        changed = bytearray(line)
        changed[place] ^= 1
        (tmp_path / JOURNAL).write_bytes(b"".join(lines).replace(line, changed))
        assert read_journal(tmp_path) == ((PLANNED, expected) if damaged else None), place


def test_a_run_that_was_killed_in_a_line_is_continued(tmp_path: Path) -> None:
    lines = written(tmp_path)
    torn = lines[1][: len(lines[1]) // 2]
    (tmp_path / JOURNAL).write_bytes(lines[0] + torn)
    journal = Journal(tmp_path, PLANNED)
    journal.add(BY_RECORD, PART)
    journal.add(BY_ID, PART)
    journal.close()
    assert read_journal(tmp_path) == (PLANNED, [Finished(0, PART), Finished(1, PART)])


@pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b'{"settings": "x"}\n'])
def test_what_is_no_journal_of_this_version_is_left(tmp_path: Path, content: bytes) -> None:
    (tmp_path / JOURNAL).write_bytes(content)
    assert read_journal(tmp_path) is None
