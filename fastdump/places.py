"""Choose the layout: by the options when writing, by looking at the files when reading.

Only the layout that is chosen is imported: all of them take a tenth of a second.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastdump.config.clouds import aws_profile, checked_url
from fastdump.config.state import state_folder
from fastdump.errors import BackupDamagedError, BackupNotFoundError, UsageError
from fastdump.model import (
    DEFAULT_COMPRESSION,
    DEFAULT_RETRY_SECONDS,
    GZIP,
    LAYOUTS,
    METHODS,
    NO_KEYS,
    NONE,
    Compression,
    Encoding,
    Keys,
    Location,
    WriteOptions,
    is_url,
)
from fastdump.repository import DESCRIPTION
from fastdump.storage.disk_errors import disk
from fastdump.storage.volume import PRIVATE

if TYPE_CHECKING:
    from fastdump.layouts.form import Form
    from fastdump.layouts.interface import Destination, Layout, Source
    from fastdump.repository.place import Repository
    from fastdump.runs.journal import Journal
    from fastdump.storage.interface import Storage

__all__ = ["default_layout", "destination", "journal", "layout", "repository", "source"]

_REPOSITORY = "repository"

_STREAM = "-"
"""The name of standard input and output."""

_METHODS = {
    "komodo": (GZIP,),
    "komodo-json": (GZIP,),
    "mongodump": (GZIP, NONE),
    "archive": (GZIP, NONE),
    _REPOSITORY: tuple(METHODS),
}
"""The ways of compressing that each layout has: other programs must be able to read it."""


def default_layout(folder: Location, *, stands_alone: bool = False) -> str:
    """Return the layout in which a backup is written where none is named.

    Args:
        folder: the folder of backups, or the address of a repository.
        stands_alone: whether this backup goes to a place of its own.
    """
    return _REPOSITORY if _holds_repository(folder) and not stands_alone else LAYOUTS[0]


def layout(folder: Location, keys: Keys = NO_KEYS) -> Layout:
    """Return a place of backups to look at, told by looking.

    Args:
        folder: the folder of backups, or the address of a repository.
        keys: what opens an encrypted repository.

    Raises:
        UsageError: the URL of an object store is malformed, or a profile is.
    """
    if _holds_repository(folder):
        return _repository(folder, keys)
    from fastdump.layouts.dated_folders import DatedFolders

    return DatedFolders(Path(folder))


def repository(folder: Location, keys: Keys) -> Repository:
    """Return the repository in a place.

    Args:
        folder: its address or folder.
        keys: what opens it.

    Raises:
        BackupNotFoundError: there is none.
        UsageError: the URL of an object store is malformed, or a profile is.
    """
    if not _holds_repository(folder):
        raise BackupNotFoundError(f"{folder} is no repository; check the address")
    return _repository(folder, keys)


def journal(folder: Location, mode: int = PRIVATE) -> Journal:
    """Return the journal of runs of a place.

    Args:
        folder: the folder of backups, or the address of a repository.
        mode: the permissions of new files.

    Raises:
        BackupDamagedError: the repository is damaged.
        StorageError: the storage cannot be read.
        UsageError: the URL of an object store is malformed, or a profile is.
    """
    from fastdump.runs.journal import FileJournal, ObjectJournal

    if not _holds_repository(folder):
        return FileJournal(Path(folder), mode)
    from fastdump.repository.description import read

    storage = _storage(folder, mode)
    found = read(storage)
    return ObjectJournal(storage, shows_messages=found is None or not found.recipients)


def _holds_repository(folder: Location) -> bool:
    if is_url(folder):
        return True
    with disk(Path(folder)):
        return (Path(folder) / DESCRIPTION).is_file()


def _repository(
    folder: Location,
    keys: Keys,
    compression: Compression = DEFAULT_COMPRESSION,
    mode: int = PRIVATE,
) -> Repository:
    from fastdump.repository.place import Repository
    from fastdump.storage.local import LocalStorage

    memory = LocalStorage(state_folder())
    return Repository(_storage(folder, mode), compression, keys=keys, memory=memory)


def _storage(folder: Location, mode: int = PRIVATE) -> Storage:
    if isinstance(folder, str) and is_url(folder):
        from fastdump.storage.object_store import ObjectStorage
        from fastdump.storage.retrying import RetryingStorage

        options = aws_profile() if folder.startswith("s3:") else {}
        stored = ObjectStorage(checked_url(folder), options)
        return RetryingStorage(stored, DEFAULT_RETRY_SECONDS)
    from fastdump.storage.local import LocalStorage

    return LocalStorage(Path(folder), mode)


def destination(folder: Location, options: WriteOptions) -> Destination:
    """Return the destination of a backup.

    Args:
        folder: the folder of backups, or the address of a repository.
        options: the layout, and the place if it is not this folder.

    Raises:
        UsageError: the options contradict each other.
    """
    out = None if options.out is None else str(options.out)
    allowed = _METHODS[options.layout]
    if options.compression.method not in allowed:
        raise UsageError(
            f"--compression {options.compression.method} cannot be combined with --layout "
            f"{options.layout}, which is {'always ' if len(allowed) == 1 else ''}"
            f"{' or '.join(allowed)}"
        )
    if options.layout == _REPOSITORY:
        return _new_repository(folder, options)
    if options.keys.recipients:
        raise UsageError(
            f"--encrypt-to cannot be combined with --layout {options.layout}: only a repository is "
            "encrypted"
        )
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
        from fastdump.layouts.archive import ArchivePlace

        return ArchivePlace(out, options.compression.gzip_level, options.mode)
    if out == _STREAM:
        raise UsageError(
            f"--layout {options.layout} writes many files, which cannot go to standard output: use "
            "--layout archive for that"
        )
    if out is not None:
        from fastdump.layouts.one_folder import OneFolder

        return OneFolder(Path(out), _form(replace(options, latest_only=())), options.mode)
    from fastdump.layouts.dated_folders import DatedFolders

    return DatedFolders(folder, _form(options), options.mode)


def _new_repository(folder: Location, options: WriteOptions) -> Repository:
    if options.out is not None:
        raise UsageError(
            "--out names a place for one backup, and a repository holds many: name it with -f"
        )
    if not is_url(folder) and not _holds_repository(folder) and Path(folder).is_dir():
        from fastdump.layouts.dated_folders import DatedFolders

        dated = DatedFolders(Path(folder))
        if dated.backups() or dated.latest():
            raise UsageError(
                f"{folder} holds backups of another layout: name another folder for a repository "
                "with -f"
            )
    return _repository(folder, options.keys, options.compression, options.mode)


def _form(options: WriteOptions) -> Form:
    if options.layout == "mongodump":
        from fastdump.layouts.mongodump import MongodumpForm

        return MongodumpForm(options.compression.gzip_level)
    from fastdump.layouts.komodo import KomodoForm

    encoding = Encoding.JSON if options.layout == "komodo-json" else Encoding.BSON
    return KomodoForm(options.latest_only, encoding, options.compression.effort)


def source(folder: Location, name: str | None, keys: Keys = NO_KEYS) -> Source:
    """Look at the files of a backup, and return the source that reads them.

    Args:
        folder: the folder of backups, or the address of a repository.
        name: the name or path of a backup, `-` for standard input; None for the most recent one of
            the folder.
        keys: what opens an encrypted repository.

    Raises:
        BackupDamagedError: a file is not an archive.
        StorageError: the backup cannot be read.
        UsageError: the URL of an object store is malformed, or a repository is named as if it were
            a backup.
    """
    from fastdump.layouts.dated_folders import DatedFolders
    from fastdump.layouts.folder_writer import MANIFEST

    if name == _STREAM:
        from fastdump.layouts.archive import Archive

        return Archive(name)
    if _holds_repository(folder) and (name is None or "/" not in name):
        return _repository(folder, keys)
    folder = Path(folder)
    path = folder / (name or "")
    if path.is_dir() and _holds_repository(path):
        raise UsageError(f"{path} is a repository: name it with -f, and a backup of it with -r")
    if name is None or (path / MANIFEST).is_file():
        return DatedFolders(folder)
    if path.is_file():
        return _file(path)
    from fastdump.layouts.mongodump import MongodumpFolder

    return (MongodumpFolder.recognised(path) if path.is_dir() else None) or DatedFolders(folder)


def _file(path: Path) -> Source:
    """Return the backup in a file.

    Raises:
        BackupDamagedError: it is not an archive.
    """
    from fastdump.layouts.archive import Archive
    from fastdump.layouts.mongodump import MongodumpFile

    if Archive.recognised(path):
        return Archive(str(path))
    if MongodumpFile.recognised(path):
        return MongodumpFile(path)
    raise BackupDamagedError(
        f"{path}: this is not an archive of mongodump, and its name does not end with .bson "
        "or .bson.gz; for other backups, name the folder"
    )
