"""Removing the oldest backups, so that a folder keeps only so many."""

from __future__ import annotations

import shutil

from fastdump.report import PruneReport
from fastdump.store.base import Layout

__all__ = ["prune"]


def prune(layout: Layout, max_backups: int, *, dry_run: bool = False) -> PruneReport:
    """Remove the oldest complete backups until `max_backups` remain; 0 removes none.

    What killed runs left behind goes too, where it is older than the oldest that is kept. What is
    not named like a backup is neither counted nor touched.

    Raises:
        StorageError: a backup cannot be removed.
    """
    backups = layout.backups()
    surplus = max(0, len(backups) - max_backups) if max_backups else 0
    if not dry_run:
        for backup in backups[:surplus]:
            layout.remove(backup)
        for begun, path in layout.stale() if max_backups else ():
            if surplus < len(backups) and begun < backups[surplus].taken:
                shutil.rmtree(path, ignore_errors=True)
    names = [backup.name for backup in backups]
    return PruneReport(tuple(names[:surplus]), tuple(names[surplus:]))
