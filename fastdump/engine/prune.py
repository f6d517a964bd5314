"""Removing the oldest backups, so that a folder keeps only so many."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from fastdump.errors import StorageError
from fastdump.layouts.ages import about_future
from fastdump.layouts.interface import Layout, Swept
from fastdump.model import Location
from fastdump.report import PruneReport

__all__ = ["prune"]

_TOLD = 3
"""How many of those that cannot be removed are named."""


def prune(
    layout: Layout, max_backups: int, *, newest: str | None = None, dry_run: bool = False
) -> PruneReport:
    """Remove the oldest complete backups until `max_backups` remain; 0 removes none.

    What killed runs left behind goes too, where it is older than the oldest that is kept, and what
    only removed backups of a repository needed. What is not named like a backup is neither counted
    nor touched.

    Args:
        layout: the backups folder.
        max_backups: how many to keep.
        newest: a backup that was just made, which stays whatever the clock says of its age; the
            folder is still locked for it.
        dry_run: whether only to say what would be removed.

    Raises:
        StorageError: a backup cannot be removed, or one is being written there.
    """
    is_free = newest is None and max_backups and not dry_run
    with layout.locked() if is_free else nullcontext():
        report = _prune(layout, max_backups, newest, dry_run=dry_run)
        # After a backup only if it made one superfluous, since all manifests are read for it.
        sweeps = not dry_run and (report.removed or newest is None)
        swept = layout.sweep() if sweeps else Swept(None)
    return replace(
        report,
        notes=(*report.notes, *swept.notes, *layout.notes),
        freed_bytes=swept.file_bytes,
    )


def _prune(layout: Layout, max_backups: int, newest: str | None, *, dry_run: bool) -> PruneReport:
    backups = layout.backups()
    surplus = max(0, len(backups) - max_backups) if max_backups else 0
    doomed = [backup for backup in backups if backup.name != newest][:surplus]
    kept = [backup for backup in backups if backup not in doomed]
    if not dry_run:
        stale = layout.stale() if max_backups and kept else []
        left = [path for begun, path in stale if begun < kept[0].made]
        _remove(layout, [*(backup.path for backup in doomed), *left])
    return PruneReport(
        tuple(backup.name for backup in doomed),
        tuple(backup.name for backup in kept),
        tuple(about_future(backups)),
    )


def _remove(layout: Layout, paths: Sequence[Location]) -> None:
    """Remove all that can be removed.

    Raises:
        StorageError: something cannot be.
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
