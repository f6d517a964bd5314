"""What mongorestore reads restores: old archives, an oplog alone, single files, old file names.

Every byte is made here, in the form that the tool named beside it writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bson

import fastdump
from fastdump.codec import archive
from fastdump.model import Namespace
from fastdump.mongo.client import Document
from tests.conftest import Server

TERMINATOR = b"\xff\xff\xff\xff"


def bson_of(documents: Iterable[Document]) -> bytes:
    return b"".join(map(bson.encode, documents))


def old_archive(contents: dict[Namespace, Sequence[Document]]) -> bytes:
    """Return an archive as mongodump 3.2 to 4.2 writes it: no collection has a type."""

    def header(name: Namespace, crc: int, *, ended: bool) -> bytes:
        return bson.encode({"db": name.database, "collection": name.collection, "EOF": ended,
                            "CRC": bson.Int64(crc)})  # fmt: skip

    def described(name: Namespace) -> bytes:
        own = [{"v": 2, "key": {key: 1}, "name": f"{key}_"} for key in ("_id", "x")]
        text = json.dumps({"options": {}, "indexes": own}) if name.database else ""
        return bson.encode({"db": name.database, "collection": name.collection, "metadata": text,
                            "size": 0})  # fmt: skip

    head = bson.encode({"concurrent_collections": 4, "version": "0.1", "server_version": "4.0.2",
                        "tool_version": "r4.0.2"})  # fmt: skip
    blocks = []
    for name, documents in contents.items():
        data = bson_of(documents)
        crc = archive.crc64(data)
        signed = crc - 2**64 if crc >= 2**63 else crc
        blocks += [header(name, 0, ended=False), data, TERMINATOR]
        blocks += [header(name, signed, ended=True), TERMINATOR]
    return b"".join((archive.MAGIC, head, *map(described, contents), TERMINATOR, *blocks))


def held(server: Server, database: str, collection: str = "c") -> list[Any]:
    """Return the documents of a collection, in the order of their `_id`s."""
    with server.client() as client:
        return list(client[database][collection].find(sort=[("_id", 1)]))


def test_an_archive_of_an_older_mongodump(server: Server, tmp_path: Path) -> None:
    database, documents = server.new_database(), [{"_id": n, "x": n} for n in range(30)]
    version = {"_id": "featureCompatibilityVersion", "version": "4.0"}
    contents: dict[Namespace, Sequence[Document]] = {
        Namespace(database, "c"): documents,
        Namespace("", "oplog"): [],
        Namespace("admin", "system.version"): [version],
    }
    (tmp_path / "old").write_bytes(old_archive(contents))
    report = fastdump.restore(server.uri, name=tmp_path / "old")
    assert (report.complete, report.inserted, report.indexes) == (True, 30, 1)
    assert held(server, database) == documents
    assert fastdump.verify(name=tmp_path / "old").intact
