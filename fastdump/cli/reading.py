"""Options for the part of a server that is read and for the consistency, and their values."""

from __future__ import annotations

import argparse

from fastdump.config import Settings, one_of, read_text, switch, whole_number
from fastdump.errors import UsageError
from fastdump.model import CONSISTENCIES, ReadOptions, Selection

__all__ = ["add_consistency", "add_selection", "read_options_of", "selection_of"]


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose collections, documents and members."""
    group = parser.add_argument_group("what is read")
    group.add_argument(
        "--collection",
        metavar="PATTERN",
        action="append",
        help="read only collections of this name; * stands for anything; can be given several "
        "times",
    )
    group.add_argument(
        "--exclude-collection",
        metavar="PATTERN",
        action="append",
        help="leave out collections of this name; * stands for anything; can be given several "
        "times",
    )
    group.add_argument(
        "--query",
        metavar="JSON",
        help="read only documents that match this filter, in Extended JSON; needs one collection",
    )
    group.add_argument("--query-file", metavar="FILE", help="a file with the filter")
    group.add_argument(
        "--views-as-collections",
        action="store_true",
        help="read only views, and store their documents as collections",
    )
    group.add_argument(
        "--read-preference",
        metavar="MODE|JSON",
        help="the members of a replica set to read from, such as secondary or "
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
    """Add `--consistency` with its further options, and `--max-rate`."""
    parser.add_argument(
        "--max-rate",
        metavar="MB/S",
        help="read at most this many megabytes of documents a second (FASTDUMP_MAX_RATE)",
    )
    group = parser.add_argument_group("consistency")
    group.add_argument(
        "--consistency",
        metavar="|".join(CONSISTENCIES),
        help="snapshot: all documents as they were at one moment, which a replica set can show for "
        "a while; oplog: documents of different moments with all operations meanwhile, which a "
        "restore replays; lock: nobody can write meanwhile; none: documents of different moments; "
        "auto (the default): snapshot if the server offers it, else none (FASTDUMP_CONSISTENCY)",
    )
    group.add_argument(
        "--raise-snapshot-window",
        action="store_const",
        const="true",
        help="let the server keep its history for as long as the snapshot needs, and then set this "
        "back (FASTDUMP_RAISE_SNAPSHOT_WINDOW)",
    )
    group.add_argument(
        "--max-lock-seconds",
        metavar="SECONDS",
        help="give up if the lock lasts longer than this, by default 600; 0 for no limit "
        "(FASTDUMP_MAX_LOCK_SECONDS)",
    )


def read_options_of(settings: Settings) -> ReadOptions:
    """Return the consistency and the limits of reading."""
    return ReadOptions(
        consistency=settings.parsed("consistency", one_of(CONSISTENCIES)),
        raise_snapshot_window=settings.parsed("raise-snapshot-window", switch),
        max_lock_seconds=settings.parsed("max-lock-seconds", whole_number(0)) or None,
        max_rate=settings.max_rate,
    )
