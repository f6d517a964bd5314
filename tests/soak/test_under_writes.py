"""Backups and restores in a row while others write: nothing grows. Run by `tox -e soak`."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient

import fastdump
from benchmarks.shapes import insert
from tests.conftest import Server, listed

pytestmark = pytest.mark.timeout(3000)

ROUNDS = 100
DOCUMENTS = 3000


@contextmanager
def writers(server: Server, name: str, count: int) -> Iterator[None]:
    """Clients that insert, update, delete and drop until the end.

    Each document says what it is: `sum` is `_id` plus `version`, in every version that existed.
    """
    done = threading.Event()

    def run(seed: int) -> None:
        chance = random.Random(seed)
        with MongoClient[dict[str, Any]](server.uri) as client:
            found = client[name]
            while not done.wait(0.001):
                one, version = chance.randrange(2 * DOCUMENTS), chance.randrange(10**6)
                body = {"version": version, "sum": one + version, "p": "x" * chance.randrange(900)}
                match chance.randrange(20):
                    case 0:
                        found["c"].delete_one({"_id": one})
                    case 1:
                        found[f"short{seed}"].drop()
                    case 2:
                        found[f"short{seed}"].insert_one(body)
                    case _:
                        found["c"].replace_one({"_id": one}, {"_id": one, **body}, upsert=True)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_nothing_grows_and_every_document_existed(server: Server, tmp_path: Path) -> None:
    name, target = server.new_database(), server.new_database()
    insert(
        server.connection, name, "c",
        ({"_id": n, "version": 0, "sum": n, "p": "y" * 300} for n in range(DOCUMENTS)),
    )  # fmt: skip
    process = psutil.Process()
    sizes: list[tuple[int, int]] = []
    with writers(server, name, 3):
        for _number in range(ROUNDS):
            fastdump.backup(server.uri, db=name, folder=tmp_path, max_backups=3)
            assert fastdump.verify(tmp_path).problems == ()
            options = fastdump.LoadOptions(drop=True)
            report = fastdump.restore(
                server.uri, target_db=target, folder=tmp_path, options=options
            )
            assert report.complete
            with server.client() as client:
                for one in client[target]["c"].find():
                    assert one["sum"] == one["_id"] + one["version"]
            sizes.append((process.memory_info().rss, process.num_fds()))
    assert len(listed(tmp_path)) == 3
    early, late = sizes[ROUNDS // 5], sizes[-1]
    assert late[0] < early[0] * 1.2
    assert late[1] <= early[1] + 3
