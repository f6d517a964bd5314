"""Defaults, and the words that options accept."""

from __future__ import annotations

__all__ = [
    "CONSISTENCIES",
    "DEFAULT_DATABASE",
    "DEFAULT_LATEST_ONLY",
    "DEFAULT_MAX_LOCK_SECONDS",
    "DEFAULT_RETRY_SECONDS",
    "KEEPS_DATABASE",
    "LAYOUTS",
]

DEFAULT_DATABASE = "komodo"
"""The database that is meant if none is named."""

DEFAULT_LATEST_ONLY = ("Stats",)
"""Collections of which only the latest copy is kept: Komodo's measurements, which are large."""

LAYOUTS = ("komodo", "komodo-json", "mongodump", "archive", "repository")
"""The layouts of backups."""

CONSISTENCIES = ("auto", "none", "snapshot", "oplog", "lock")
"""The ways in which documents of a backup may relate in time; `auto` becomes one of the others."""

DEFAULT_MAX_LOCK_SECONDS = 600.0
"""Longest time in seconds to keep others from writing."""

DEFAULT_RETRY_SECONDS = 60.0
"""Time in seconds to try again when a server goes away."""

KEEPS_DATABASE = frozenset({"mongodump", "archive", "repository"})
"""Layouts that can hold several databases; each is restored into a database of its own name."""
