"""List the complete backups of a folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fastdump.cli.keys import add_identity, reading_keys_of
from fastdump.cli.options import add_folder
from fastdump.cli.output import age, notes, size, table
from fastdump.config import Settings
from fastdump.model import Backup

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = "fastdump list -f /backups"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `list`."""
    add_folder(parser)
    add_identity(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:  # noqa: ARG001
    """Run the command, and return the exit code."""
    from fastdump.layouts.ages import about_future
    from fastdump.places import layout

    place = layout(settings.folder, reading_keys_of(settings))
    backups, latest = place.backups(), place.latest()
    if not backups:
        print(f"{settings.folder}: there is no complete backup in it")
    else:
        _show(backups)
        notes(about_future(backups))
    for found in latest:
        count = found.contents.documents
        documents = "documents not counted" if count is None else f"{count:,} documents"
        print(f"\nbeside them, the latest {found.name}: {size(found.file_bytes)}, {documents}")
    return 0


def _show(backups: Sequence[Backup]) -> None:
    shares = any(backup.added_bytes is not None for backup in backups)
    sizes = ("size", "added") if shares else ("size",)
    headers = (
        "backup", "age", *sizes, "documents", "collections", "database", "server", "consistency",
    )  # fmt: skip
    numbers = range(2, 5 + shares)
    table(headers, (_row(backup, shares=shares) for backup in backups), right=numbers)


def _row(backup: Backup, *, shares: bool) -> tuple[str, ...]:
    documents, is_sealed = backup.documents, backup.sealed_bytes is not None
    added = "?" if backup.added_bytes is None else size(backup.added_bytes)
    sizes = [size(backup.file_bytes), *([added] if shares else [])]
    return (
        backup.name,
        age(backup.made),
        *sizes,
        "?" if documents is None else f"{documents:,}",
        "?" if is_sealed else f"{len(backup.collections)}",
        "encrypted" if is_sealed else ", ".join(backup.databases) or "?",
        backup.server_version or "?",
        str(backup.consistency or "?"),
    )
