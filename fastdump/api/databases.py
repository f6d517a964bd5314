"""Moving the documents of a database: backup, restore, copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastdump import config
from fastdump.api.arguments import (
    connection_of,
    filters_of,
    location_of,
    name_of,
    selection_of,
    server_of,
)
from fastdump.model import (
    DEFAULT_DATABASE,
    KEEPS_DATABASE,
    NO_KEYS,
    CollectionFilter,
    Keys,
    LoadOptions,
    NamespaceFilter,
    ReadOptions,
    Retention,
    Server,
    WriteOptions,
)
from fastdump.progress import Reporter, Silent
from fastdump.report import BackupReport, CopyReport, DrillReport, RestoreReport


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

    place = location_of(folder)
    source = server_of(server)
    form = config.checked_writing(writing or WriteOptions(layout=default_layout(place)))
    named = db or config.database_of(source.uri)
    return run(
        connection_of(source),
        selection_of(
            named if named or form.layout in KEEPS_DATABASE else DEFAULT_DATABASE, collections
        ),
        destination(place, form),
        how=config.checked_reading(reading),
        workers=config.checked_workers(workers),
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
    keys: Keys = NO_KEYS,
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
        keys: what opens an encrypted repository.
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

    which, sharing = name_of(name), config.checked_workers(workers)
    where = server_of(target)
    plan = plan_restore(
        connection_of(where),
        source(location_of(folder), which, keys),
        which,
        workers=sharing,
        how=config.checked_loading(options),
        filters=replace(
            filters_of(namespaces),
            database=target_db or config.database_of(where.uri),
            collection=target_collection,
        ),
    )
    return run(plan, workers=sharing, reporter=reporter or Silent())


def drill(
    target: str | Server,
    *,
    target_db: str | None = None,
    folder: str | Path = config.DEFAULT_FOLDER,
    name: str | Path | None = None,
    keys: Keys = NO_KEYS,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> DrillReport:
    """Restore a backup for a test, compare every document with it, and drop it again.

    Args:
        target: the server to restore to, as `mongodb://host:port`, or a `Server`.
        target_db: the database to restore to, which must not exist; by default the one that
            `restore` would take.
        folder: the folder of backups.
        name: the name or path of a backup; by default the most recent complete one.
        keys: what opens an encrypted repository.
        workers: the number of processes; by default the smaller of 4 and the number of cores.
        reporter: an object that receives progress and notes.

    Returns:
        A report. Check its `passed`.

    Raises:
        BackupDamagedError: a file of the backup was changed, cut or lost.
        BackupNotFoundError: there is no such backup.
        IncompleteError: a worker died.
        ServerError: the server cannot be reached or refuses.
        StorageError: the folder cannot be read.
        UsageError: the database exists, or an argument is wrong.
    """
    from fastdump.engine.drill import drill as run
    from fastdump.places import source

    which, where = name_of(name), server_of(target)
    return run(
        connection_of(where),
        target_db or config.database_of(where.uri),
        source(location_of(folder), which, keys),
        which,
        workers=config.checked_workers(workers),
        reporter=reporter or Silent(),
    )


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

    source, where = server_of(server), server_of(target)
    how, sharing = config.checked_reading(reading), config.checked_workers(workers)
    plan = plan_copy(
        connection_of(source),
        selection_of(db or config.database_of(source.uri) or DEFAULT_DATABASE, collections),
        connection_of(where),
        target_db or config.database_of(where.uri) or DEFAULT_DATABASE,
        how=config.checked_loading(options),
    )
    return run(plan, how=how, workers=sharing, reporter=reporter or Silent())
