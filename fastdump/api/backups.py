"""Backups that are there already: list, status, verify, convert, prune. No server is needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fastdump import config
from fastdump.api.arguments import filters_of, layout_of, location_of, name_of
from fastdump.errors import UsageError
from fastdump.model import NO_KEYS, Backup, Keys, Limits, NamespaceFilter, Retention, WriteOptions
from fastdump.progress import Reporter, Silent
from fastdump.report import ConvertReport, PruneReport, RekeyReport, StatusReport, VerifyReport


def list_backups(
    folder: str | Path = config.DEFAULT_FOLDER, *, keys: Keys = NO_KEYS
) -> list[Backup]:
    """Return all complete backups of a folder, oldest first.

    Args:
        folder: the backups folder, or the address of a repository.
        keys: what opens an encrypted repository; without them little is known of its backups.

    Raises:
        StorageError: the folder cannot be read.
    """
    return layout_of(folder, keys).backups()


def status(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    limits: Limits | None = None,
    keys: Keys = NO_KEYS,
) -> StatusReport:
    """Say how the backups of a folder are, from their manifests and the journal of runs.

    Args:
        folder: the backups folder, or the address of a repository.
        limits: what must be fulfilled; by default only that there is a backup and that the last
            run of each command succeeded.
        keys: what opens an encrypted repository.

    Returns:
        A report. Check its `well`: problems are named in the report, and raise no error.

    Raises:
        StorageError: the folder cannot be read.
    """
    from fastdump.engine.status import status as run
    from fastdump.places import journal

    place, runs = layout_of(folder, keys), journal(location_of(folder)).runs()
    wanted = limits or Limits()
    return run(place.backups(), place.latest(), runs, wanted, datetime.now(UTC))


def verify(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    name: str | Path | None = None,
    workers: int | None = None,
    unique: bool = False,
    sample: float = 1,
    keys: Keys = NO_KEYS,
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
        keys: what opens an encrypted repository.
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

    which = name_of(name)
    return run(
        source(location_of(folder), which, keys),
        which,
        workers=config.checked_workers(workers),
        unique=unique,
        share=config.checked_share("sample", sample),
        reporter=reporter or Silent(),
    )


def convert(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    name: str | Path | None = None,
    to: str | Path | None = None,
    writing: WriteOptions | None = None,
    namespaces: NamespaceFilter | None = None,
    keys: Keys = NO_KEYS,
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
        keys: what opens the old backup, if it is encrypted; those of the new one are in `writing`.
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
    place = location_of(folder if to is None else to)
    form = config.checked_writing(writing or WriteOptions(layout=default_layout(place)))
    which = name_of(name)
    sharing = config.checked_workers(workers)
    plan = plan_convert(
        source(location_of(folder), which, keys),
        which,
        form.layout,
        workers=sharing,
        filters=filters_of(namespaces),
    )
    return run(
        plan,
        destination(place, replace(form, latest_only=())),
        workers=sharing,
        reporter=reporter or Silent(),
    )


def prune(
    folder: str | Path = config.DEFAULT_FOLDER,
    *,
    max_backups: int = config.DEFAULT_MAX_BACKUPS,
    retention: Retention | None = None,
    dry_run: bool = False,
    keys: Keys = NO_KEYS,
) -> PruneReport:
    """Remove the oldest complete backups until `max_backups` remain; 0 removes none.

    Args:
        folder: the backups folder, or the address of a repository.
        max_backups: the number of backups to keep, of each database.
        retention: the rules by which backups stay; then `max_backups` does not count.
        dry_run: only return what would be removed.
        keys: what opens an encrypted repository; it can be pruned without.

    Raises:
        StorageError: the folder cannot be read, or a backup cannot be removed.
        UsageError: `max_backups`, or a number in the rules, is below zero.
    """
    from fastdump.engine.prune import prune as run

    rules = config.checked_retention(max_backups, retention)
    return run(layout_of(folder, keys), rules, dry_run=dry_run)


def rekey(
    folder: str | Path,
    recipients: Keys,
    *,
    keys: Keys = NO_KEYS,
    reporter: Reporter | None = None,
) -> RekeyReport:
    """Encrypt a repository for others: everything new, and with keys what is there already.

    Args:
        folder: the address of the repository, or its folder.
        recipients: for whom, such as `Keys(recipients=["age1…"])`.
        keys: what opens the repository now; without them what is there stays as it is.
        reporter: an object that receives progress.

    Returns:
        A report. Check its `complete`: what could not be encrypted again raises no error.

    Raises:
        BackupNotFoundError: there is no repository.
        StorageError: the storage refuses, or somebody else is at work there.
        UsageError: the repository is not encrypted, or a passphrase is missing.
    """
    from fastdump.places import repository

    place = repository(location_of(folder), replace(keys, recipients=()))
    return place.rekey(recipients, reporter or Silent())
