"""Back up and restore MongoDB databases with many processes at once.

The functions are named like the commands, and each returns a report with all that its command
prints:

    import fastdump

    report = fastdump.backup("mongodb://localhost", db="komodo", folder="/backups")
    print(report.documents, report.seconds)

These functions print nothing and ask nothing. A failure raises a `FastdumpError`.
"""

from __future__ import annotations

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
    Backup,
    CollectionFilter,
    Connection,
    Consistency,
    LoadOptions,
    Location,
    Namespace,
    NamespaceFilter,
    ReadOptions,
    Rejection,
    Retention,
    Selection,
    Server,
    WriteOptions,
    is_url,
)
from fastdump.progress import Reporter, Silent
from fastdump.report import (
    BackupReport,
    CollectionReport,
    ConvertReport,
    CopyReport,
    Problem,
    PruneReport,
    RestoreReport,
    VerifyReport,
)
from fastdump.version import __version__

if TYPE_CHECKING:
    from fastdump.engine.restore.filters import Filters
    from fastdump.layouts.interface import Layout

__all__ = [
    "Backup",
    "BackupDamagedError",
    "BackupNotFoundError",
    "BackupReport",
    "CollectionFilter",
    "CollectionReport",
    "Consistency",
    "ConvertReport",
    "CopyReport",
    "FastdumpError",
    "FormatError",
    "IncompleteError",
    "LoadOptions",
    "Namespace",
    "NamespaceFilter",
    "Problem",
    "PruneReport",
    "ReadOptions",
    "Rejection",
    "Reporter",
    "RestoreReport",
    "Retention",
    "Server",
    "ServerError",
    "StorageError",
    "UsageError",
    "VerifyReport",
    "WriteOptions",
    "__version__",
    "backup",
    "convert",
    "copy",
    "list_backups",
    "prune",
    "restore",
    "verify",
]


def backup(
    server: str | Server,
    *,
    db: str | None = None,
    folder: str | Path = config.DEFAULT_FOLDER,
    collections: CollectionFilter | None = None,
    reading: ReadOptions | None = None,
    writing: WriteOptions | None = None,
    max_backups: int = config.DEFAULT_MAX_BACKUPS,
    retention: Retention | None = None,
    resume: bool = False,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> BackupReport:
    """Back up a database into a new dated folder, then prune.

    Args:
        server: the server, as `mongodb://host:port`, or a `Server`.
        db: the database; by default that of the URI, else all databases in the layouts `mongodump`
            and `archive`, and `komodo` in the others.
        folder: the backups folder, made if it is missing; or a repository in an object store, as
            `s3://bucket/prefix`.
        collections: which collections, and which of their documents; by default all.
        reading: of which moment, and how fast, such as `ReadOptions(consistency="lock")`.
        writing: the form of the backup, such as `WriteOptions(layout="mongodump")`.
        max_backups: the number of backups to keep; 0 keeps all.
        retention: the rules by which backups stay, such as `Retention(daily=7, monthly=12)`; then
            `max_backups` does not count.
        resume: continue the unfinished backup of an earlier run with the same arguments, and leave
            an unfinished one behind for a later run.
        workers: the number of processes; by default the smaller of 4 and the number of cores.
        reporter: an object that receives progress and notes.

    Raises:
        IncompleteError: a worker died, or the backup is complete but old ones could not be removed.
        ServerError: the server cannot be reached or refuses.
        StorageError: the folder cannot be written.
        UsageError: an argument is wrong, or there is no such database.
    """
    from fastdump.engine.backup.run import backup as run
    from fastdump.places import default_layout, destination

    place = _location(folder)
    source = _server(server)
    form = config.checked_writing(writing or WriteOptions(layout=default_layout(place)))
    named = db or config.database_of(source.uri)
    return run(
        _connection(source),
        _selection(
            named if named or form.layout in KEEPS_DATABASE else DEFAULT_DATABASE, collections
        ),
        destination(place, form),
        how=config.checked_reading(reading),
        workers=config.checked_workers(workers),
        level=form.level,
        retention=config.checked_retention(max_backups, retention),
        resume=resume,
        reporter=reporter or Silent(),
    )


def restore(
    target: str | Server,
    *,
    target_db: str | None = None,
    target_collection: str | None = None,
    folder: str | Path = config.DEFAULT_FOLDER,
    name: str | Path | None = None,
    namespaces: NamespaceFilter | None = None,
    options: LoadOptions | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> RestoreReport:
    """Load a backup into a database; running it twice leaves the same database.

    Documents of the target that are not in the backup stay, unless `options` say `drop`.

    Args:
        target: the server to write to, as `mongodb://host:port`, or a `Server`.
        target_db: the database to write to; by default that of the URI, else the one that
            mongodump dumped, else `komodo`.
        target_collection: the new name of the backup's only collection, such as that of a single
            file.
        folder: the folder of backups.
        name: the name or path of a backup, which mongodump may have written, or `-` for an archive
            on standard input; by default the most recent complete one.
        namespaces: the collections to restore and their new names; by default all, with their own
            names.
        options: the options of writing documents, such as `LoadOptions(drop=True)`.
        workers: the number of processes; by default the smaller of 4 and the number of cores.
        reporter: an object that receives progress and notes.

    Returns:
        A report. Check its `complete`: documents and indexes that the server refused are counted
        and named in the report, and raise no error.

    Raises:
        BackupDamagedError: a file of the backup was changed, cut or lost.
        BackupNotFoundError: there is no such backup.
        IncompleteError: a worker died.
        ServerError: the server cannot be reached or refuses.
        StorageError: the folder cannot be read.
        UsageError: an argument is wrong.
    """
    from fastdump.engine.restore.planning import plan_restore
    from fastdump.engine.restore.run import restore as run
    from fastdump.places import source

    which = None if name is None else str(name)
    where = _server(target)
    plan = plan_restore(
        _connection(where),
        source(_location(folder), which),
        which,
        workers=config.checked_workers(workers),
        how=config.checked_loading(options),
        filters=replace(
            _filters(namespaces),
            database=target_db or config.database_of(where.uri),
            collection=target_collection,
        ),
    )
    return run(plan, workers=config.checked_workers(workers), reporter=reporter or Silent())


def copy(
    server: str | Server,
    target: str | Server,
    *,
    db: str | None = None,
    target_db: str | None = None,
    collections: CollectionFilter | None = None,
    reading: ReadOptions | None = None,
    options: LoadOptions | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> CopyReport:
    """Copy a database to another server; running it twice leaves the same database.

    Documents of the target that are not in the source stay, unless `options` say `drop`.

    Args:
        server: the server to read from, as `mongodb://host:port`, or a `Server`.
        target: the server to write to, in the same way.
        db: the database to read; by default that of the URI, else `komodo`.
        target_db: the database to write; by default that of the target's URI, else `komodo`.
        collections: the collections and documents to copy; by default all.
        reading: the consistency and the speed, such as `ReadOptions(consistency="lock")`.
        options: the options of writing documents, such as `LoadOptions(drop=True)`.
        workers: the number of processes; by default the smaller of 4 and the number of cores.
        reporter: an object that receives progress and notes.

    Returns:
        A report. Check its `complete`: documents and indexes that the server refused are counted
        and named in the report, and raise no error.

    Raises:
        IncompleteError: a worker died.
        ServerError: a server cannot be reached or refuses.
        UsageError: an argument is wrong, or there is no such database.
    """
    from fastdump.engine.copy.planning import plan_copy
    from fastdump.engine.copy.run import copy as run

    source, where = _server(server), _server(target)
    how, sharing = config.checked_reading(reading), config.checked_workers(workers)
    plan = plan_copy(
        _connection(source),
        _selection(db or config.database_of(source.uri) or DEFAULT_DATABASE, collections),
        _connection(where),
        target_db or config.database_of(where.uri) or DEFAULT_DATABASE,
        how=config.checked_loading(options),
    )
    return run(plan, how=how, workers=sharing, reporter=reporter or Silent())


def convert(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    name: str | Path | None = None,
    to: str | Path | None = None,
    writing: WriteOptions | None = None,
    namespaces: NamespaceFilter | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> ConvertReport:
    """Write a backup in another layout or to another place, without a server.

    Args:
        folder: the backups folder, or the address of a repository.
        name: the name or path of a backup; by default the newest.
        to: the folder or the address of the repository that gets the new backup; by default, the
            place is the `out` of `writing`.
        writing: the form of the new backup. `latest_only` does not count: each backup is whole.
        namespaces: the collections to take, and their new names; by default all.
        workers: the number of processes; by default the smaller of 4 and the number of cores.
        reporter: an object that receives progress and notes.

    Raises:
        BackupDamagedError: the backup is damaged; there is no new one then.
        BackupNotFoundError: there is no such backup, or a pattern matches nothing of it.
        IncompleteError: a worker died.
        StorageError: a disk or the object store refuses.
        UsageError: an argument is wrong, or the layout cannot hold all of the backup.
    """
    from fastdump.engine.convert.planning import plan_convert
    from fastdump.engine.convert.run import convert as run
    from fastdump.places import default_layout, destination, source

    if (to is None) == (writing is None or writing.out is None):
        raise UsageError("name the place of the new backup, with either `to` or `writing.out`")
    place = _location(folder if to is None else to)
    form = config.checked_writing(writing or WriteOptions(layout=default_layout(place)))
    which = None if name is None else str(name)
    sharing = config.checked_workers(workers)
    plan = plan_convert(
        source(_location(folder), which),
        which,
        form.layout,
        workers=sharing,
        filters=_filters(namespaces),
    )
    return run(
        plan,
        destination(place, replace(form, latest_only=())),
        workers=sharing,
        level=form.level,
        reporter=reporter or Silent(),
    )


def list_backups(folder: str | Path = config.DEFAULT_FOLDER) -> list[Backup]:
    """Return all complete backups of a folder, oldest first.

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
    sample: float = 1,
    reporter: Reporter | None = None,
) -> VerifyReport:
    """Read a whole backup and compare it with its manifest.

    Args:
        folder: the folder of backups.
        name: the name or path of a backup; by default the most recent complete one.
        workers: the number of processes; by default the smaller of 4 and the number of cores.
        unique: also check that no two documents of a collection have the same `_id`, which takes
            16 bytes per document in the folder for temporary files.
        sample: the share of the documents to read, such as 0.05; which ones, is chance.
        reporter: an object that receives progress and notes.

    Returns:
        A report. Check its `intact`: damage is named in the report, and raises no error.

    Raises:
        BackupNotFoundError: there is no such backup.
        IncompleteError: a worker died.
        StorageError: the folder cannot be read.
    """
    from fastdump.engine.verify.run import verify as run
    from fastdump.places import source

    which = None if name is None else str(name)
    return run(
        source(_location(folder), which),
        which,
        workers=config.checked_workers(workers),
        unique=unique,
        share=config.checked_share("sample", sample),
        reporter=reporter or Silent(),
    )


def prune(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    max_backups: int = config.DEFAULT_MAX_BACKUPS,
    retention: Retention | None = None,
    dry_run: bool = False,
) -> PruneReport:
    """Remove the oldest complete backups until `max_backups` remain; 0 removes none.

    Args:
        folder: the backups folder, or the address of a repository.
        max_backups: the number of backups to keep, of each database.
        retention: the rules by which backups stay; then `max_backups` does not count.
        dry_run: only return what would be removed.

    Raises:
        StorageError: the folder cannot be read, or a backup cannot be removed.
        UsageError: `max_backups`, or a number in the rules, is below zero.
    """
    from fastdump.engine.prune import prune as run

    rules = config.checked_retention(max_backups, retention)
    return run(_layout(folder), rules, dry_run=dry_run)


def _filters(namespaces: NamespaceFilter | None) -> Filters:
    from fastdump.engine.restore.filters import Filters
    from fastdump.patterns import Patterns, Renaming

    wanted = namespaces or NamespaceFilter()
    old, new = [one for one, _new in wanted.rename], [one for _old, one in wanted.rename]
    return Filters(
        include=Patterns(wanted.include),
        exclude=Patterns(wanted.exclude),
        renaming=Renaming(old, new),
    )


def _server(server: str | Server) -> Server:
    return Server(server) if isinstance(server, str) else server


def _connection(server: Server) -> Connection:
    """Return the connection to a server.

    Raises:
        UsageError: its URI is not a MongoDB URI.
    """
    return replace(
        config.described(server.uri, server.username, server.password),
        read_preference=server.read_preference,
        retry_seconds=server.retry_seconds,
    )


def _selection(database: str | None, wanted: CollectionFilter | None) -> Selection:
    """Return the part of a database, or of all databases, that is read.

    Raises:
        UsageError: the query is not Extended JSON.
    """
    from fastdump.mongo.query import filter_of

    found = wanted or CollectionFilter()
    return Selection(
        database,
        tuple(found.include),
        tuple(found.exclude),
        None if found.query is None else filter_of(found.query),
        found.views_as_collections,
        found.users_and_roles,
    )


def _layout(folder: str | Path) -> Layout:
    from fastdump.places import layout

    return layout(_location(folder))


def _location(folder: str | Path) -> Location:
    return folder if is_url(folder) else Path(folder)
