"""Which layout is meant: by its name where something is written, by looking where it is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastdump.errors import BackupDamagedError, UsageError
from fastdump.layouts.archive import Archive, ArchivePlace
from fastdump.layouts.archive_output import STREAM
from fastdump.layouts.dated_folders import DatedFolders
from fastdump.layouts.folder_writer import MANIFEST
from fastdump.layouts.interface import Destination, Form, Source
from fastdump.layouts.komodo import KomodoForm
from fastdump.layouts.mongodump import MongodumpFile, MongodumpFolder, MongodumpForm
from fastdump.layouts.one_folder import OneFolder
from fastdump.model import Encoding, WriteOptions

__all__ = ["destination", "source"]


def destination(folder: Path, options: WriteOptions) -> Destination:
    """Return the place where a backup goes.

    Args:
        folder: the backups folder.
        options: the form in which it is written, and where, if not in this folder.

    Raises:
        UsageError: the options contradict each other.
    """
    out = None if options.out is None else str(options.out)
    if options.layout == "archive":
        if out is None:
            raise UsageError(
                "the archive layout is one file: name it with --out, - is standard output"
            )
        return ArchivePlace(out, compressed=options.gzip, level=options.level, mode=options.mode)
    if not options.gzip and options.layout != "mongodump":
        raise UsageError(
            f"the {options.layout} layout is always gzip: --no-gzip is for mongodump and archive"
        )
    if out == STREAM:
        raise UsageError(
            f"the {options.layout} layout is many files: only an archive goes to standard output"
        )
    if out is not None:
        return OneFolder(Path(out), _form(replace(options, latest_only=())), options.mode)
    return DatedFolders(folder, _form(options), options.mode)


def _form(options: WriteOptions) -> Form:
    if options.layout == "mongodump":
        return MongodumpForm(compressed=options.gzip)
    encoding = Encoding.JSON if options.layout == "komodo-json" else Encoding.BSON
    return KomodoForm(options.latest_only, encoding)


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
        if Archive.recognised(path):
            return Archive(str(path))
        if MongodumpFile.recognised(path):
            return MongodumpFile(path)
        raise BackupDamagedError(
            f"{path}: this is no archive of mongodump, and its name does not end with .bson or "
            ".bson.gz; of other backups, name the folder"
        )
    return (MongodumpFolder.recognised(path) if path.is_dir() else None) or DatedFolders(folder)
