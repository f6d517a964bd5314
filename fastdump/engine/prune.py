"""The command `prune`: remove the backups of a folder that no rule keeps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from fastdump.engine.retention import reasons_to_keep
from fastdump.errors import StorageError
from fastdump.layouts.ages import about_future
from fastdump.layouts.interface import Layout, Swept
from fastdump.model import Location, Retention
from fastdump.report import PruneReport

__all__ = ["prune"]

_TOLD = 3
"""Number of failures that a message names."""


def prune(
    layout: Layout, retention: Retention, *, newest: str | None = None, dry_run: bool = False
) -> PruneReport:
    """Remove the complete backups that no rule keeps.

    Unfinished backups of killed runs are removed too, if they are older than the oldest backup that
    is kept, and the pieces of a repository that no backup needs any more. Anything that is not
    named like a backup is neither counted nor touched.

    Args:
        layout: the folder of backups.
        retention: the rules; without any, all backups stay.
        newest: a backup that was just made, and is kept even if the clock makes it look old; the
            folder is still locked for it.
        dry_run: only return what would be removed.

    Raises:
        StorageError: a backup cannot be removed, or one is being written there.
    """
    is_free = newest is None and retention.limits and not dry_run
    with layout.locked() if is_free else nullcontext():
        report = _prune(layout, retention, newest, dry_run=dry_run)
        # After a backup only if it made one superfluous, since all manifests are read for it.
        sweeps = not dry_run and (report.removed or newest is None)
        swept = layout.sweep() if sweeps else Swept(None)
    return replace(
        report,
        notes=(*report.notes, *swept.notes, *layout.notes),
        freed_bytes=swept.file_bytes,
    )


def _prune(
    layout: Layout, retention: Retention, newest: str | None, *, dry_run: bool
) -> PruneReport:
    backups = layout.backups()
    reasons = reasons_to_keep(retention, backups)
    if newest is not None:
        reasons.setdefault(newest, ["newest"])
    doomed = [backup for backup in backups if backup.name not in reasons]
    kept = [backup for backup in backups if backup.name in reasons]
    if not dry_run:
        stale = layout.stale() if retention.limits and kept else []
        left = [path for begun, path in stale if begun < kept[0].made]
        _remove(layout, [*(backup.path for backup in doomed), *left])
    return PruneReport(
        tuple(backup.name for backup in doomed),
        tuple(backup.name for backup in kept),
        {backup.name: tuple(reasons[backup.name]) for backup in kept},
        tuple(about_future(backups)),
    )


def _remove(layout: Layout, paths: Sequence[Location]) -> None:
    """Remove all paths, and go on after a failure.

    Raises:
        StorageError: at least one path cannot be removed.
    """
    failures = []
    for path in paths:
        try:
            layout.remove(path)
        except StorageError as error:
            failures.append(str(error))
    if failures:
        more = f"; and {len(failures) - _TOLD} more" if len(failures) > _TOLD else ""
        raise StorageError("; ".join(failures[:_TOLD]) + more)
