"""Which layout is meant: by its name where something is written, by looking where it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastdump.model import Encoding
from fastdump.store.base import Form, Layout, Source
from fastdump.store.dated import MANIFEST, DatedFolders
from fastdump.store.komodo import KomodoForm
from fastdump.store.mongodump import MongodumpFolder, MongodumpForm, databases

__all__ = ["layout", "sources"]


def layout(name: str, folder: Path, latest_only: Sequence[str]) -> Layout:
    """The layout of that name, one of `fastdump.model.LAYOUTS`, in that folder."""
    return DatedFolders(folder, _form(name, latest_only))


def _form(name: str, latest_only: Sequence[str]) -> Form:
    if name == "mongodump":
        return MongodumpForm()
    return KomodoForm(latest_only, Encoding.JSON if name == "komodo-json" else Encoding.BSON)


def sources(folder: Path, name: str | None) -> list[Source]:
    """Where to read a backup from: one for each database, of which only mongodump has several.

    Args:
        folder: the backups folder.
        name: the name or path of a backup; None is the most recent one of the folder.

    Raises:
        StorageError: a folder cannot be read.
    """
    ours = name is None or (folder / name / MANIFEST).is_file()
    dumped = [] if ours else databases(folder / str(name))
    return [MongodumpFolder(path) for path in dumped] or [DatedFolders(folder)]
