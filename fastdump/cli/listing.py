"""Show the complete backups of a folder."""

from __future__ import annotations

import argparse

from fastdump.cli.options import add_folder
from fastdump.cli.output import age, notes, size, table
from fastdump.config import Settings
from fastdump.model import Backup

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = "fastdump list -f /backups"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `list`."""
    add_folder(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:  # noqa: ARG001
    """Do it; returns the exit code."""
    from fastdump.layouts.ages import about_future
    from fastdump.layouts.dated_folders import DatedFolders

    layout = DatedFolders(settings.folder)
    backups, latest = layout.backups(), layout.latest()
    if not backups:
        print(f"{settings.folder}: there is no complete backup in it")
    else:
        headers = (
            "backup",
            "age",
            "size",
            "documents",
            "collections",
            "database",
            "server",
            "consistency",
        )
        table(headers, map(_row, backups), right=(2, 3, 4))
        notes(about_future(backups))
    for found in latest:
        count = found.contents.documents
        documents = "documents not counted" if count is None else f"{count:,} documents"
        print(f"\nbeside them, the latest {found.name}: {size(found.file_bytes)}, {documents}")
    return 0


def _row(backup: Backup) -> tuple[str, ...]:
    documents = backup.documents
    return (
        backup.name,
        age(backup.made),
        size(backup.file_bytes),
        "?" if documents is None else f"{documents:,}",
        f"{len(backup.collections)}",
        ", ".join(backup.databases) or "?",
        backup.server_version or "?",
        str(backup.consistency or "?"),
    )
