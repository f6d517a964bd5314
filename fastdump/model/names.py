"""What is meant where nothing is said, and the words that are allowed."""

from __future__ import annotations

__all__ = [
    "CONSISTENCIES",
    "DEFAULT_DATABASE",
    "DEFAULT_LATEST_ONLY",
    "DEFAULT_LEVEL",
    "DEFAULT_MAX_LOCK_SECONDS",
    "DEFAULT_RETRY_SECONDS",
    "KEEPS_DATABASE",
    "LAYOUTS",
    "LEVELS",
]

DEFAULT_DATABASE = "komodo"
"""What is meant where no database is named."""

DEFAULT_LATEST_ONLY = ("Stats",)
"""Collections of which only the latest copy is kept: Komodo's measurements, which are large."""

LEVELS = range(4)
"""Levels of compression: isal's."""

DEFAULT_LEVEL = 1

LAYOUTS = ("komodo", "komodo-json", "mongodump", "archive", "repository")
"""How a backup may be written."""

CONSISTENCIES = ("auto", "none", "snapshot", "oplog", "lock")
"""How the documents of a backup may relate in time; `auto` is `snapshot` or `none`."""

DEFAULT_MAX_LOCK_SECONDS = 600.0
"""For how long to keep others from writing, at most."""

DEFAULT_RETRY_SECONDS = 60.0
"""For how long to try again when a server goes away."""

KEEPS_DATABASE = frozenset({"mongodump", "archive", "repository"})
"""Layouts that can hold several databases, and are restored into those that they were taken of."""
