"""Fill a database: `python -m benchmarks.generate --uri mongodb://localhost --db test --size 1300`.

The shapes are `komodo`, `hurtful` (of fixed size), and the single collections of
`benchmarks.shapes`.
"""

from __future__ import annotations

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor

from pymongo import IndexModel

from benchmarks.shapes import SHAPES, hurtful, insert
from fastdump.config import described
from fastdump.demo.komodo import generate
from fastdump.model import Connection
from fastdump.mongo.client import connect

__all__ = ["fill", "fill_many"]

_THREADS = 4


def fill(
    connection: Connection,
    database: str,
    shape: str,
    raw_bytes: int,
    *,
    seed: int = 1,
    workers: int = 2,
) -> None:
    """Fill a database with documents of one shape, of about the given size in bytes."""
    if shape == "komodo":
        generate(connection, database, raw_bytes, seed=seed, workers=workers)
    elif shape == "hurtful":
        hurtful(connection, database, seed=seed)
    else:
        make, size = SHAPES[shape]
        insert(connection, database, shape, make(random.Random(seed), raw_bytes // size))


def fill_many(connection: Connection, database: str, count: int) -> None:
    """Fill a database with that number of collections of 20 documents, with two indexes each."""
    with connect(connection) as client, ThreadPoolExecutor(_THREADS) as threads:

        def make(number: int) -> None:
            collection = client[database][f"c{number:05}"]
            collection.insert_many(
                {"_id": n, "name": f"n{n}", "value": n, "text": "x" * 100} for n in range(20)
            )
            collection.create_indexes(
                [IndexModel("name"), IndexModel([("value", 1), ("name", -1)])]
            )

        list(threads.map(make, range(count)))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--db", default="komodo")
    parser.add_argument("--shape", choices=["komodo", "hurtful", *SHAPES], default="komodo")
    parser.add_argument("--size", type=int, default=200, metavar="MB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", "--workers", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    fill(
        described(options.uri),
        options.db,
        options.shape,
        options.size * 1_000_000,
        seed=options.seed,
        workers=options.workers,
    )
    print(f"filled {options.db} in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
