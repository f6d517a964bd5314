"""Which layout is meant: by its name where something is written, by looking where it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastdump.errors import BackupDamagedError, UsageError
from fastdump.model import Encoding
from fastdump.store.archive import Archive
from fastdump.store.archive_writing import ArchivePlace
from fastdump.store.base import STREAM, Destination, Form, Source
from fastdump.store.dated import DatedFolders
from fastdump.store.komodo import KomodoForm
from fastdump.store.mongodump import MongodumpFolder, MongodumpForm
from fastdump.store.one_folder import OneFolder
from fastdump.store.volume import PRIVATE
from fastdump.store.writing import MANIFEST

__all__ = ["destination", "source"]


def destination(
    name: str,
    folder: Path,
    latest_only: Sequence[str],
    *,
    out: str | None = None,
    compressed: bool = True,
    level: int = 1,
    mode: int = PRIVATE,
) -> Destination:
    """Where a backup goes.

    Args:
        name: of the layout, one of `fastdump.model.LAYOUTS`.
        folder: the backups folder.
        latest_only: collections of which only the latest copy is kept there.
        out: a folder or file instead, or `-` for standard output.
        compressed: with gzip, which Komodo's layouts always are.
        level: of compression, for what is not documents.
        mode: of the files.

    Raises:
        UsageError: these do not fit each other.
    """
    if name == "archive":
        if out is None:
            raise UsageError(
                "the archive layout is one file: name it with --out, - is standard output"
            )
        return ArchivePlace(out, compressed=compressed, level=level, mode=mode)
    if not compressed and name != "mongodump":
        raise UsageError(
            f"the {name} layout is always gzip: --no-gzip is for mongodump and archive"
        )
    if out == STREAM:
        raise UsageError(
            f"the {name} layout is many files: only an archive goes to standard output"
        )
    if out is not None:
        return OneFolder(Path(out), _form(name, (), compressed=compressed), mode)
    return DatedFolders(folder, _form(name, latest_only, compressed=compressed), mode)


def _form(name: str, latest_only: Sequence[str], *, compressed: bool) -> Form:
    if name == "mongodump":
        return MongodumpForm(compressed=compressed)
    return KomodoForm(latest_only, Encoding.JSON if name == "komodo-json" else Encoding.BSON)


def source(folder: Path, name: str | None) -> Source:
    """Where to read a backup from, told by looking.

    Args:
        folder: the backups folder.
        name: the name or path of a backup, `-` for standard input; None is the most recent one of
            the folder.

    Raises:
        BackupDamagedError: a file is no archive.
        StorageError: it cannot be read.
    """
    if name == STREAM:
        return Archive(name)
    path = folder / (name or "")
    if name is None or (path / MANIFEST).is_file():
        return DatedFolders(folder)
    if path.is_file():
        if not Archive.recognised(path):
            raise BackupDamagedError(
                f"{path}: this is no archive of mongodump; of other backups, name the folder"
            )
        return Archive(str(path))
    return (MongodumpFolder.recognised(path) if path.is_dir() else None) or DatedFolders(folder)
