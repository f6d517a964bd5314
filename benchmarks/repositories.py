"""Measure repositories: a first backup, one without and with changes, a restore, and two weeks.

The changes are those of a Komodo database: 1 % of the documents of the large collections are added,
the oldest 1 % are deleted, and a run of 0.1 % is updated.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection

from benchmarks.measure import Measurement, folder_bytes
from benchmarks.tools import fastdump_backup, fastdump_restore
from fastdump.codec import age
from fastdump.codec.bson import spans
from fastdump.demo.komodo import documents

__all__ = ["DAYS", "compare", "fortnight"]

Measure = Callable[[str, str, int, list[str], Path | None], Measurement]
"""A function that measures a command: data, tool, round, command, and the folder it writes to."""

DAYS = 14
_LARGE = ("Stats", "Update", "Alert")
_BLOCK = 1000
_SEEDS = count(7)
"""A new one for each addition, so that every `_id` is new."""


def kinds(folder: Path) -> dict[str, list[str]]:
    """Return the options of each kind of backup that is compared."""
    identity = folder / "key.txt"
    if not identity.exists():
        identity.write_text(age.new_identity())
    recipient = age.recipient_of(identity.read_text())
    repository = ["--layout", "repository"]
    return {
        "fastdump": [],
        "repository": repository,
        "repository, zstd": [*repository, "--compression", "zstd"],
        "repository, encrypted": [*repository, "--encrypt-to", recipient],
    }


def compare(uri: str, database: str, target: str, numbers: Iterator[int], measure: Measure) -> None:
    """Measure each kind of backup in each round.

    Args:
        uri: the server.
        database: the database, which is changed.
        target: the database to restore to, which is dropped.
        numbers: the rounds.
        measure: measures a command.
    """
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="fastdump-bench-") as temporary:
            folder = Path(temporary)
            options = kinds(folder)

            def backups(data: str, number: int = number, folder: Path = folder) -> None:
                for tool, more in kinds(folder).items():
                    out = folder / tool.replace(", ", "-")
                    command = [*fastdump_backup(uri, database, out), *more]
                    measure(data, tool, number, command, out)

            backups("first")
            for tool in options:
                command = fastdump_restore(uri, target, folder / tool.replace(", ", "-"))
                if "encrypted" in tool:
                    command += ["--identity", str(folder / "key.txt")]
                measure("restore", tool, number, command, None)
                _drop(uri, target)
            backups("unchanged")
            with MongoClient[dict[str, Any]](uri) as client:
                for name in _LARGE:
                    _change(client[database][name], name)
            backups("changed")


def fortnight(uri: str, database: str, save: Callable[[int, str, int], None]) -> None:
    """Back up a database that grows by 1 % a day, for fourteen days.

    Args:
        uri: the server.
        database: the database, which is changed.
        save: receives the day, the kind of backup, and the size of all backups in bytes.
    """
    from fastdump import WriteOptions, backup

    folder = Path(tempfile.mkdtemp(prefix="fastdump-bench-"))
    try:
        for day in range(1, DAYS + 1):
            for layout in ("komodo", "repository"):
                writing = WriteOptions(layout=layout, latest_only=())
                backup(uri, db=database, folder=folder / layout, max_backups=0, writing=writing)
                save(day, layout, folder_bytes(folder / layout))
            with MongoClient[dict[str, Any]](uri) as client:
                for name in _LARGE:
                    _grow(client[database][name], name)
    finally:
        shutil.rmtree(folder)


def _change(collection: Collection[dict[str, Any]], name: str) -> None:
    there = _grow(collection, name)
    oldest = [one["_id"] for one in collection.find({}, {"_id": 1}).sort("_id").limit(there // 100)]
    middle = collection.find({}, {"_id": 1}).sort("_id").skip(there // 2).limit(there // 1000)
    updated = [one["_id"] for one in middle]
    collection.delete_many({"_id": {"$in": oldest}})
    collection.update_many({"_id": {"$in": updated}}, {"$set": {"changed": True}})


def _grow(collection: Collection[dict[str, Any]], name: str) -> int:
    """Add 1 % of documents; return the number of those that were there."""
    there, seed = collection.estimated_document_count(), next(_SEEDS)
    more = max(1, there // 100)
    for first in range(there, there + more, _BLOCK):
        data = documents(name, first, min(_BLOCK, there + more - first), seed).data
        made = [RawBSONDocument(data[start:end]) for start, end in spans(data)]
        collection.insert_many(made)
    return there


def _drop(uri: str, database: str) -> None:
    with MongoClient[dict[str, Any]](uri) as client:
        client.drop_database(database)
