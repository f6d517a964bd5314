"""Back up and restore MongoDB databases with many processes at once.

The verbs and the names are those of the command line, and each returns what the command prints:

    import fastdump

    report = fastdump.backup("mongodb://localhost", db="komodo", folder="/backups")
    print(report.documents, report.seconds)

Nothing is printed and nothing is asked. What is not done raises a `FastdumpError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastdump import config
from fastdump.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    FastdumpError,
    FormatError,
    IncompleteError,
    ServerError,
    StorageError,
    UsageError,
)
from fastdump.model import (
    DEFAULT_DATABASE,
    KEEPS_DATABASE,
    LAYOUTS,
    Backup,
    Consistency,
    LoadOptions,
    Namespace,
    ReadOptions,
    Rejection,
    Selection,
)
from fastdump.progress import Reporter, Silent
from fastdump.report import (
    BackupReport,
    CollectionReport,
    CopyReport,
    Problem,
    PruneReport,
    RestoreReport,
    VerifyReport,
)
from fastdump.version import __version__

if TYPE_CHECKING:
    from fastdump.store.dated import DatedFolders

__all__ = [
    "Backup",
    "BackupDamagedError",
    "BackupNotFoundError",
    "BackupReport",
    "CollectionReport",
    "Consistency",
    "CopyReport",
    "FastdumpError",
    "FormatError",
    "IncompleteError",
    "LoadOptions",
    "Namespace",
    "Problem",
    "PruneReport",
    "ReadOptions",
    "Rejection",
    "Reporter",
    "RestoreReport",
    "ServerError",
    "StorageError",
    "UsageError",
    "VerifyReport",
    "__version__",
    "backup",
    "copy",
    "list_backups",
    "prune",
    "restore",
    "verify",
]


def backup(
    uri: str,
    *,
    db: str | None = None,
    folder: str | Path = config.DEFAULT_FOLDER,
    workers: int | None = None,
    level: int = config.DEFAULT_LEVEL,
    max_backups: int = config.DEFAULT_MAX_BACKUPS,
    latest_only: Sequence[str] = config.DEFAULT_LATEST_ONLY,
    layout: str = LAYOUTS[0],
    out: str | Path | None = None,
    gzip: bool = True,
    collections: Sequence[str] = (),
    exclude: Sequence[str] = (),
    query: str | None = None,
    views_as_collections: bool = False,
    users_and_roles: bool = False,
    read_preference: str | None = None,
    reading: ReadOptions | None = None,
    mode: int = 0o600,
    resume: bool = False,
    username: str | None = None,
    password: str | None = None,
    reporter: Reporter | None = None,
) -> BackupReport:
    """Back up a database into a new dated folder, then prune.

    Args:
        uri: the server, as `mongodb://host:port`.
        db: the database; by default that of the URI, else all in the layouts `mongodump` and
            `archive`, and `komodo` in the others.
        folder: the backups folder, made if it is missing.
        workers: number of processes; by default the smaller of 4 and the number of cores.
        level: of compression, 0 to 3.
        max_backups: how many to keep; 0 keeps all.
        latest_only: collections of which only the latest copy is kept.
        layout: `komodo`, `komodo-json` for what Komodo's own restore reads, or `mongodump` or
            `archive` for what mongorestore reads.
        out: one backup there instead, and nothing is pruned; an archive's file, `-` for
            standard output.
        gzip: whether to compress, which the first two layouts always do.
        collections: patterns of the names of those that are wanted; none means all.
        exclude: patterns of those that are not.
        query: a filter for the documents of the only collection, in Extended JSON.
        views_as_collections: only views, as collections with what they show.
        users_and_roles: the users and roles of the database too, or of all.
        mode: permissions of the files.
        resume: go on with what an earlier run of the same settings left behind, and leave it behind
            for a later one.
        read_preference: a mode, or a JSON object with mode, tagSets and maxStalenessSeconds.
        reading: of which moment, and how fast, such as `ReadOptions(consistency="lock")`.
        username: where the URI names no user.
        password: of that user.
        reporter: hears how it goes.

    Raises:
        IncompleteError: a worker died, or the backup is whole but old ones could not be removed.
        ServerError: the server cannot be reached or refuses.
        StorageError: the folder cannot be written.
        UsageError: an argument is wrong, or there is no such database.
    """
    from fastdump.codec.gzip import LEVELS
    from fastdump.engine.backup import backup as run
    from fastdump.mongo.filters import filter_of
    from fastdump.store.layouts import destination

    config.checked_word("layout", layout, LAYOUTS)
    connection = replace(config.described(uri, username, password), read_preference=read_preference)
    named = db or config.database_of(uri)
    return run(
        connection,
        Selection(
            named if named or layout in KEEPS_DATABASE else DEFAULT_DATABASE,
            tuple(collections),
            tuple(exclude),
            None if query is None else filter_of(query),
            views_as_collections,
            users_and_roles,
        ),
        destination(
            layout,
            Path(folder),
            latest_only,
            out=None if out is None else str(out),
            compressed=gzip,
            level=level,
            mode=config.checked_mode(mode),
        ),
        how=config.checked_reading(reading),
        workers=config.checked_workers(workers),
        level=config.checked_number("level", level, min(LEVELS), max(LEVELS)),
        max_backups=config.checked_number("max_backups", max_backups, 0),
        resume=resume,
        reporter=reporter or Silent(),
    )


def restore(
    target_uri: str,
    *,
    target_db: str | None = None,
    folder: str | Path = config.DEFAULT_FOLDER,
    name: str | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    rename: Sequence[tuple[str, str]] = (),
    options: LoadOptions | None = None,
    workers: int | None = None,
    username: str | None = None,
    password: str | None = None,
    reporter: Reporter | None = None,
) -> RestoreReport:
    """Load a backup into a database; running it twice leaves the same database.

    Documents of the target that are not in the backup stay, unless dropped.

    Args:
        target_uri: the server to write to.
        target_db: the database to write to; by default that of the URI, else the one that
            mongodump dumped, else `komodo`.
        folder: the backups folder.
        name: which backup, by name or path, also of what mongodump wrote, or `-` for an archive on
            standard input; by default the most recent complete one.
        include: patterns of the namespaces that are wanted; none means all.
        exclude: patterns of those that are not.
        rename: pairs of patterns, from and to.
        options: how documents are written, such as `LoadOptions(drop=True)`.
        workers: number of processes; by default the smaller of 4 and the number of cores.
        username: where the URI names no user.
        password: of that user.
        reporter: hears how it goes.

    Returns:
        What was done. Look at its `complete`: documents and indexes that the server refused are
        counted and named there, and do not raise.

    Raises:
        BackupDamagedError: a file of the backup is not what was written.
        BackupNotFoundError: there is no such backup.
        IncompleteError: a worker died.
        ServerError: the server cannot be reached or refuses.
        StorageError: the folder cannot be read.
        UsageError: an argument is wrong.
    """
    from fastdump.engine.choosing import Filters
    from fastdump.engine.restore import plan_restore
    from fastdump.engine.restore import restore as run
    from fastdump.patterns import Patterns, Renaming
    from fastdump.store.layouts import source

    which = None if name is None else str(name)
    plan = plan_restore(
        config.described(target_uri, username, password),
        source(Path(folder), which),
        which,
        workers=config.checked_workers(workers),
        how=config.checked_loading(options),
        filters=Filters(
            target_db or config.database_of(target_uri),
            Patterns(include),
            Patterns(exclude),
            Renaming([old for old, _new in rename], [new for _old, new in rename]),
        ),
    )
    return run(plan, workers=config.checked_workers(workers), reporter=reporter or Silent())


def copy(
    uri: str,
    target_uri: str,
    *,
    db: str | None = None,
    target_db: str | None = None,
    collections: Sequence[str] = (),
    exclude: Sequence[str] = (),
    options: LoadOptions | None = None,
    reading: ReadOptions | None = None,
    workers: int | None = None,
    username: str | None = None,
    password: str | None = None,
    target_username: str | None = None,
    target_password: str | None = None,
    reporter: Reporter | None = None,
) -> CopyReport:
    """Copy a database to another server; running it twice leaves the same database.

    Documents of the target that are not in the source stay, unless dropped.

    Args:
        uri: the server to read from.
        target_uri: the server to write to.
        db: the database to read; by default that of the URI, else `komodo`.
        target_db: the database to write; by default that of the target URI, else `komodo`.
        collections: patterns of the names of those that are wanted; none means all.
        exclude: patterns of those that are not.
        options: how documents are written, such as `LoadOptions(drop=True)`.
        reading: of which moment, such as `ReadOptions(consistency="lock")`.
        workers: number of processes; by default the smaller of 4 and the number of cores.
        username: where the URI names no user.
        password: of that user.
        target_username: where the target URI names no user.
        target_password: of that user.
        reporter: hears how it goes.

    Returns:
        What was done. Look at its `complete`: documents and indexes that the server refused are
        counted and named there, and do not raise.

    Raises:
        IncompleteError: a worker died.
        ServerError: a server cannot be reached or refuses.
        UsageError: an argument is wrong, or there is no such database.
    """
    from fastdump.engine.copy import copy as run
    from fastdump.engine.copy import plan_copy

    how, sharing = config.checked_reading(reading), config.checked_workers(workers)
    plan = plan_copy(
        config.described(uri, username, password),
        Selection(
            db or config.database_of(uri) or DEFAULT_DATABASE, tuple(collections), tuple(exclude)
        ),
        config.described(target_uri, target_username, target_password),
        target_db or config.database_of(target_uri) or DEFAULT_DATABASE,
        how=config.checked_loading(options),
    )
    return run(plan, how=how, workers=sharing, reporter=reporter or Silent())


def list_backups(folder: str | Path = config.DEFAULT_FOLDER) -> list[Backup]:
    """All complete backups of a folder, oldest first.

    Raises:
        StorageError: the folder cannot be read.
    """
    return _layout(folder).backups()


def verify(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    name: str | Path | None = None,
    workers: int | None = None,
    unique: bool = False,
    reporter: Reporter | None = None,
) -> VerifyReport:
    """Read a whole backup and compare it with its manifest.

    Args:
        folder: the backups folder.
        name: which backup, by name or path; by default the most recent complete one.
        workers: number of processes; by default the smaller of 4 and the number of cores.
        unique: see too that no two documents of a collection have the same `_id`, which takes 16
            bytes for each document in the folder for temporary files.
        reporter: hears how it goes.

    Returns:
        What was found; look at its `intact`.

    Raises:
        BackupNotFoundError: there is no such backup.
        IncompleteError: a worker died.
        StorageError: the folder cannot be read.
    """
    from fastdump.engine.verify import verify as run
    from fastdump.store.layouts import source

    which = None if name is None else str(name)
    return run(
        source(Path(folder), which),
        which,
        workers=config.checked_workers(workers),
        unique=unique,
        reporter=reporter or Silent(),
    )


def prune(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    max_backups: int = config.DEFAULT_MAX_BACKUPS,
    dry_run: bool = False,
) -> PruneReport:
    """Remove the oldest complete backups until `max_backups` remain; 0 removes none.

    Raises:
        StorageError: the folder cannot be read, or a backup cannot be removed.
        UsageError: `max_backups` is below zero.
    """
    from fastdump.engine.prune import prune as run

    keep = config.checked_number("max_backups", max_backups, 0)
    return run(_layout(folder), keep, dry_run=dry_run)


def _layout(folder: str | Path) -> DatedFolders:
    from fastdump.store.dated import DatedFolders

    return DatedFolders(Path(folder))
