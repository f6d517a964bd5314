"""Options for what of a server is read, and how; from options to settings."""

from __future__ import annotations

import argparse

from fastdump.config import Settings, one_of, read_text, switch, whole_number
from fastdump.errors import UsageError
from fastdump.model import CONSISTENCIES, ReadOptions, Selection

__all__ = ["add_consistency", "add_selection", "read_options_of", "selection_of"]


def add_selection(parser: argparse.ArgumentParser) -> None:
    """What of a database is read."""
    group = parser.add_argument_group("what is read")
    group.add_argument(
        "--collection",
        metavar="PATTERN",
        action="append",
        help="only collections with that name, in which * stands for anything; also several times",
    )
    group.add_argument(
        "--exclude-collection",
        metavar="PATTERN",
        action="append",
        help="none with that name; also several times",
    )
    group.add_argument(
        "--query",
        metavar="JSON",
        help="a filter for the documents of one collection, in Extended JSON",
    )
    group.add_argument("--query-file", metavar="FILE", help="a file that holds the filter")
    group.add_argument(
        "--views-as-collections",
        action="store_true",
        help="only views, as collections with what they show",
    )
    group.add_argument(
        "--read-preference",
        metavar="MODE|JSON",
        help="which servers of a replica set to read from, as secondary or "
        '\'{mode: "nearest", tagSets: [{dc: "ny"}], maxStalenessSeconds: 120}\'',
    )


def selection_of(
    settings: Settings, options: argparse.Namespace, database: str | None
) -> Selection:
    """What of a server is read.

    Raises:
        UsageError: there are two filters, or one is no Extended JSON.
    """
    from fastdump.mongo.filters import filter_of

    text, path = settings.text("query"), settings.text("query-file")
    if text and path:
        raise UsageError("--query and --query-file both hold a filter: drop one")
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
    parser.add_argument(
        "--max-rate",
        metavar="MB/S",
        help="read at most so many megabytes of documents a second (FASTDUMP_MAX_RATE)",
    )
    group = parser.add_argument_group("of which moment")
    group.add_argument(
        "--consistency",
        metavar="|".join(CONSISTENCIES),
        help="snapshot: all documents as they were at one moment, which a replica set shows for a "
        "while; oplog: with the operations meanwhile, which a restore replays; lock: nobody "
        "writes meanwhile; none: of different moments; auto, which is the default: snapshot "
        "where the server offers it, else none (FASTDUMP_CONSISTENCY)",
    )
    group.add_argument(
        "--raise-snapshot-window",
        action="store_const",
        const="true",
        help="have the server keep its history for as long as a snapshot takes, and put that back "
        "(FASTDUMP_RAISE_SNAPSHOT_WINDOW)",
    )
    group.add_argument(
        "--max-lock-seconds",
        metavar="SECONDS",
        help="give up a lock that is held longer, by default 600; 0 never does "
        "(FASTDUMP_MAX_LOCK_SECONDS)",
    )


def read_options_of(settings: Settings) -> ReadOptions:
    """How a server is read."""
    return ReadOptions(
        consistency=settings.parsed("consistency", one_of(CONSISTENCIES)),
        raise_snapshot_window=settings.parsed("raise-snapshot-window", switch),
        max_lock_seconds=settings.parsed("max-lock-seconds", whole_number(0)) or None,
        max_rate=settings.max_rate,
    )
