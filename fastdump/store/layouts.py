"""Which layout is meant: by its name where something is written, by looking where it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastdump.model import Encoding
from fastdump.store.base import Layout, Source
from fastdump.store.komodo import KomodoLayout
from fastdump.store.mongodump import MongodumpFolder, databases

__all__ = ["layout", "sources"]

_ENCODINGS = {"komodo": Encoding.BSON, "komodo-json": Encoding.JSON}


def layout(name: str, folder: Path, latest_only: Sequence[str]) -> Layout:
    """The layout of that name, one of `fastdump.model.LAYOUTS`, in that folder."""
    return KomodoLayout(folder, latest_only, _ENCODINGS[name])


def sources(folder: Path, name: str | None) -> list[Source]:
    """Where to read a backup from: one for each database, of which only mongodump has several.

    Args:
        folder: the backups folder.
        name: the name or path of a backup; None is the most recent one of the folder.

    Raises:
        StorageError: a folder cannot be read.
    """
    dumped = databases(folder / name) if name is not None else []
    return [MongodumpFolder(path) for path in dumped] or [KomodoLayout(folder)]
