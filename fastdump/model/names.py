"""What is meant where nothing is said, and the words that are allowed."""

from __future__ import annotations

__all__ = [
    "CONSISTENCIES",
    "DEFAULT_DATABASE",
    "DEFAULT_MAX_LOCK_SECONDS",
    "DEFAULT_RETRY_SECONDS",
    "KEEPS_DATABASE",
    "LAYOUTS",
]

DEFAULT_DATABASE = "komodo"
"""What is meant where no database is named."""

LAYOUTS = ("komodo", "komodo-json", "mongodump", "archive")
"""How a backup may be written."""

CONSISTENCIES = ("auto", "none", "snapshot", "oplog", "lock")
"""How the documents of a backup may relate in time; `auto` is `snapshot` or `none`."""

DEFAULT_MAX_LOCK_SECONDS = 600.0
"""For how long to keep others from writing, at most."""

DEFAULT_RETRY_SECONDS = 60.0
"""For how long to try again when a server goes away."""

KEEPS_DATABASE = frozenset({"mongodump", "archive"})
"""Layouts that can hold several databases, and are restored into those that they were taken of."""
