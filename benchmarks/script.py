"""A backup script such as people write for themselves: one cursor, gzip, JSON lines.

`python -m benchmarks.script URI DATABASE FOLDER`
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

from bson import json_util
from pymongo import MongoClient

__all__ = ["main"]


def main() -> None:
    """Run the command."""
    uri, database, folder = sys.argv[1:]
    source = MongoClient[dict[str, object]](uri)[database]
    Path(folder).mkdir(parents=True)
    for name in source.list_collection_names():
        with gzip.open(Path(folder) / f"{name}.json.gz", "wt", encoding="utf-8") as file:
            for document in source[name].find():
                file.write(json_util.dumps(document) + "\n")


if __name__ == "__main__":
    main()
