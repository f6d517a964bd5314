"""Options for the part of a server that is read and for the consistency, and their values."""

from __future__ import annotations

import argparse

from fastdump.config import Settings, one_of, read_text, switch, whole_number
from fastdump.errors import UsageError
from fastdump.model import CONSISTENCIES, ReadOptions, Selection

__all__ = ["add_consistency", "add_selection", "read_options_of", "selection_of"]


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose collections and documents to read."""
    group = parser.add_argument_group(
        "which collections and documents to read",
        "Most have an environment variable, such as FASTDUMP_COLLECTION.",
    )
    group.add_argument(
        "--collection",
        metavar="PATTERN",
        action="append",
        help="read only collections of this name; * stands for any text; can be repeated",
    )
    group.add_argument(
        "--exclude-collection",
        metavar="PATTERN",
        action="append",
        help="leave out collections of this name; * stands for any text; can be repeated",
    )
    group.add_argument(
        "--query",
        metavar="JSON",
        help="read only documents that match this filter, in Extended JSON; needs exactly one "
        "collection",
    )
    group.add_argument("--query-file", metavar="FILE", help="read that filter from this file")
    group.add_argument(
        "--views-as-collections",
        action="store_true",
        help="read only views, and save the documents they show as collections",
    )
    group.add_argument(
        "--read-preference",
        metavar="MODE|JSON",
        help="members of a replica set to read from, for example secondary, or "
        '\'{mode: "nearest", tagSets: [{dc: "ny"}], maxStalenessSeconds: 120}\'',
    )


def selection_of(
    settings: Settings, options: argparse.Namespace, database: str | None
) -> Selection:
    """Return the part of a server that is read.

    Raises:
        UsageError: there are two filters, or the filter is not valid Extended JSON.
    """
    from fastdump.mongo.query import filter_of

    text, path = settings.text("query"), settings.text("query-file")
    if text and path:
        raise UsageError("--query and --query-file cannot be combined: leave one out")
    if path:
        text = read_text(path, "--query-file")
    return Selection(
        database,
        settings.texts("collection"),
        settings.texts("exclude-collection"),
        filter_of(text) if text else None,
        options.views_as_collections,
        getattr(options, "users_and_roles", False),
    )


def add_consistency(parser: argparse.ArgumentParser) -> None:
    """`--consistency` and what goes with it, and `--max-rate`."""
    group = parser.add_argument_group("consistency while the application writes")
    group.add_argument(
        "--consistency",
        metavar="|".join(CONSISTENCIES),
        help="how to treat writes during the backup (FASTDUMP_CONSISTENCY). auto: snapshot if "
        "the server offers it, else none; snapshot: all documents as of one moment, needs a "
        "replica set; oplog: also save all operations meanwhile, for restore --oplog-replay; "
        "lock: block all writes meanwhile; none: documents of different moments; default: auto",
    )
    group.add_argument(
        "--raise-snapshot-window",
        action="store_const",
        const="true",
        help="make the server keep its history as long as the snapshot needs, and restore its "
        "setting at the end (FASTDUMP_RAISE_SNAPSHOT_WINDOW)",
    )
    group.add_argument(
        "--max-lock-seconds",
        metavar="SECONDS",
        help="end the lock after this time, and the backup with it; 0: never "
        "(FASTDUMP_MAX_LOCK_SECONDS); default: 600",
    )


def read_options_of(settings: Settings) -> ReadOptions:
    """Return the consistency and the limits of reading."""
    return ReadOptions(
        consistency=settings.parsed("consistency", one_of(CONSISTENCIES)),
        raise_snapshot_window=settings.parsed("raise-snapshot-window", switch),
        max_lock_seconds=settings.parsed("max-lock-seconds", whole_number(0)) or None,
        max_rate=settings.max_rate,
    )
