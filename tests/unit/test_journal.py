from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import bson

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

LINES = """\
{"settings":"settings","started":"2026-03-04T05:06:07Z","catalog":{"database":"db","server":\
{"address":"h:1","version":"6.0.5","topology":"standalone"},"collections":[{"database":"db",\
"name":"c","kind":"collection","options":"BQAAAAA=","indexes":[],"documents":6,"raw_bytes":600,\
"capped":false,"uuid":"abababababababababababababababab","query":null,"read_from":null}],\
"notes":[]},"chunks":[{"namespace":["db","c"],"source":["db","c"],"number":0,"chunks":2,\
"raw_bytes":300,"document_bytes":100,"lower":null,"upper":null,"after":null,"until":7,\
"query":null,"by_filter":false,"is_of_view":false,"committed":false,"at":[1234,5],\
"uuid":"abababababababababababababababab"},{"namespace":["db","c"],"source":["db","c"],\
"number":1,"chunks":2,"raw_bytes":300,"document_bytes":100,"lower":"DgAAABBfaWQAAQAAAAA=",\
"upper":"DgAAABBfaWQACQAAAAA=","after":null,"until":null,"query":"BQAAAAA=","by_filter":true,\
"is_of_view":true,"committed":true,"at":null,"uuid":null}],"at":[1234,5]}
{"chunk":1,"part":{"documents":3,"raw_bytes":300,"file_bytes":30,"seconds":0.5,"member_digests":\
"ZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGRkZGQ=","text_crc":0,"text_bytes":0,"losses":null,\
"ids":null,"blocks":[],"digest":"","interruptions":0,"first":"","last":""}}
"""
"""A journal as earlier versions wrote it."""


def test_the_format_of_journals_has_not_changed(tmp_path: Path) -> None:
    journal = Journal(tmp_path, PLANNED)
    journal.add(BY_ID, PART)
    journal.add(replace(BY_ID, namespace=Namespace("", "oplog")), PART)
    journal.close()
    # Only a repository has pieces, and it has no journal.
    expected = LINES.replace('"last":""}', '"last":"","pieces":[]}')
    assert (tmp_path / JOURNAL).read_text() == expected


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text(LINES + '{"chunk": 0, "part": {"docu')
    assert read_journal(tmp_path) == (PLANNED, [Finished(1, PART)])
