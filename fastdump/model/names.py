"""What is meant where nothing is said, and the words that are allowed."""

from __future__ import annotations

__all__ = ["DEFAULT_DATABASE", "KEEPS_DATABASE", "LAYOUTS"]

DEFAULT_DATABASE = "komodo"
"""What is meant where no database is named."""

LAYOUTS = ("komodo", "komodo-json", "mongodump", "archive")
"""How a backup may be written."""

KEEPS_DATABASE = frozenset({"mongodump", "archive"})
"""Layouts that can hold several databases, and are restored into those that they were taken of."""
