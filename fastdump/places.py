"""Choose the layout: by the options when writing, by looking at the files when reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastdump.config.clouds import aws_profile, checked_url
from fastdump.errors import BackupDamagedError, UsageError
from fastdump.layouts.archive import Archive, ArchivePlace
from fastdump.layouts.archive_output import STREAM
from fastdump.layouts.dated_folders import DatedFolders
from fastdump.layouts.folder_writer import MANIFEST
from fastdump.layouts.form import Form
from fastdump.layouts.interface import Destination, Layout, Source
from fastdump.layouts.komodo import KomodoForm
from fastdump.layouts.mongodump import MongodumpFile, MongodumpFolder, MongodumpForm
from fastdump.layouts.one_folder import OneFolder
from fastdump.model import (
    DEFAULT_RETRY_SECONDS,
    LAYOUTS,
    Encoding,
    Location,
    WriteOptions,
    is_url,
)
from fastdump.repository.place import DESCRIPTION, Repository
from fastdump.storage.local import LocalStorage
from fastdump.storage.object_store import ObjectStorage
from fastdump.storage.retrying import RetryingStorage
from fastdump.storage.volume import PRIVATE

__all__ = ["default_layout", "destination", "layout", "source"]

_REPOSITORY = "repository"


def default_layout(folder: Location, *, stands_alone: bool = False) -> str:
    """Return the layout in which a backup is written where none is named.

    Args:
        folder: the folder of backups, or the address of a repository.
        stands_alone: whether this backup goes to a place of its own.
    """
    return _REPOSITORY if _holds_repository(folder) and not stands_alone else LAYOUTS[0]


def layout(folder: Location) -> Layout:
    """Return a place of backups to look at, told by looking.

    Raises:
        UsageError: the URL of an object store is malformed, or a profile is.
    """
    if _holds_repository(folder):
        return _repository(folder)
    return DatedFolders(Path(folder))


def _holds_repository(folder: Location) -> bool:
    return is_url(folder) or (Path(folder) / DESCRIPTION).is_file()


def _repository(folder: Location, level: int | None = None, mode: int = PRIVATE) -> Repository:
    if isinstance(folder, str) and is_url(folder):
        options = aws_profile() if folder.startswith("s3:") else {}
        stored = ObjectStorage(checked_url(folder), options)
        return Repository(RetryingStorage(stored, DEFAULT_RETRY_SECONDS), level)
    return Repository(LocalStorage(Path(folder), mode), level)


def destination(folder: Location, options: WriteOptions) -> Destination:
    """Return the destination of a backup.

    Args:
        folder: the folder of backups, or the address of a repository.
        options: the layout, and the place if it is not this folder.

    Raises:
        UsageError: the options contradict each other.
    """
    out = None if options.out is None else str(options.out)
    if options.layout == _REPOSITORY:
        return _new_repository(folder, options)
    if out is None and _holds_repository(folder):
        raise UsageError(
            f"{folder} holds a repository, and the {options.layout} layout is files in a folder: "
            "name another folder with -f, or leave --layout out"
        )
    folder = Path(folder)
    if options.layout == "archive":
        if out is None:
            raise UsageError(
                "--layout archive writes one file: name it with --out (- for standard output)"
            )
        return ArchivePlace(out, compressed=options.gzip, level=options.level, mode=options.mode)
    if not options.gzip and options.layout != "mongodump":
        raise UsageError(
            f"--no-gzip cannot be combined with --layout {options.layout}, which is always gzip: "
            "use it with mongodump or archive"
        )
    if out == STREAM:
        raise UsageError(
            f"--layout {options.layout} writes many files, which cannot go to standard output: use "
            "--layout archive for that"
        )
    if out is not None:
        return OneFolder(Path(out), _form(replace(options, latest_only=())), options.mode)
    return DatedFolders(folder, _form(options), options.mode)


def _new_repository(folder: Location, options: WriteOptions) -> Repository:
    if options.out is not None:
        raise UsageError(
            "--out names a place for one backup, and a repository holds many: name it with -f"
        )
    if not is_url(folder) and not _holds_repository(folder) and Path(folder).is_dir():
        dated = DatedFolders(Path(folder))
        if dated.backups() or dated.latest():
            raise UsageError(
                f"{folder} holds backups of another layout: name another folder for a repository "
                "with -f"
            )
    return _repository(folder, options.level if options.gzip else None, options.mode)


def _form(options: WriteOptions) -> Form:
    if options.layout == "mongodump":
        return MongodumpForm(compressed=options.gzip)
    encoding = Encoding.JSON if options.layout == "komodo-json" else Encoding.BSON
    return KomodoForm(options.latest_only, encoding)


def source(folder: Location, name: str | None) -> Source:
    """Look at the files of a backup, and return the source that reads them.

    Args:
        folder: the folder of backups, or the address of a repository.
        name: the name or path of a backup, `-` for standard input; None for the most recent one of
            the folder.

    Raises:
        BackupDamagedError: a file is not an archive.
        StorageError: the backup cannot be read.
        UsageError: the URL of an object store is malformed, or a repository is named as if it were
            a backup.
    """
    if name == STREAM:
        return Archive(name)
    if _holds_repository(folder) and (name is None or "/" not in name):
        return _repository(folder)
    folder = Path(folder)
    path = folder / (name or "")
    if path.is_dir() and _holds_repository(path):
        raise UsageError(f"{path} is a repository: name it with -f, and a backup of it with -r")
    if name is None or (path / MANIFEST).is_file():
        return DatedFolders(folder)
    if path.is_file():
        if Archive.recognised(path):
            return Archive(str(path))
        if MongodumpFile.recognised(path):
            return MongodumpFile(path)
        raise BackupDamagedError(
            f"{path}: this is not an archive of mongodump, and its name does not end with .bson "
            "or .bson.gz; for other backups, name the folder"
        )
    return (MongodumpFolder.recognised(path) if path.is_dir() else None) or DatedFolders(folder)
