"""A client that writes without pause: `python -m benchmarks.writer URI DATABASE FILE`.

It updates documents of its own collection, ten in a command, and writes the number of its writes,
with the time, to the file.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient, UpdateOne

__all__ = ["COLLECTION", "main"]

COLLECTION = "written"
_DOCUMENTS = 20_000
_AT_ONCE = 10


def main() -> None:
    """Run the command until it is killed."""
    uri, database, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    chance = random.Random(1)
    found = MongoClient[dict[str, Any]](uri)[database][COLLECTION]
    if not found.estimated_document_count():
        found.insert_many({"_id": n, "n": 0, "text": "x" * 500} for n in range(_DOCUMENTS))
    writes, told = 0, 0.0
    while True:
        found.bulk_write(
            [
                UpdateOne({"_id": chance.randrange(_DOCUMENTS)}, {"$inc": {"n": 1}})
                for _ in range(_AT_ONCE)
            ],
            ordered=False,
        )
        writes += _AT_ONCE
        if time.monotonic() - told > 0.02:
            told = time.monotonic()
            path.write_text(f"{writes} {told}")


if __name__ == "__main__":
    main()
