"""What is meant where nothing is said, and the words that are allowed."""

from __future__ import annotations

__all__ = ["DEFAULT_DATABASE", "DEFAULT_RETRY_SECONDS", "KEEPS_DATABASE", "LAYOUTS"]

DEFAULT_DATABASE = "komodo"
"""What is meant where no database is named."""

LAYOUTS = ("komodo", "komodo-json", "mongodump", "archive")
"""How a backup may be written."""

DEFAULT_RETRY_SECONDS = 60.0
"""For how long to try again when a server goes away."""

KEEPS_DATABASE = frozenset({"mongodump", "archive"})
"""Layouts that can hold several databases, and are restored into those that they were taken of."""
