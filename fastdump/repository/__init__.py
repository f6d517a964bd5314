"""Backups as pieces, each of which is stored once, in a folder or an object store."""

from __future__ import annotations

__all__ = ["DESCRIPTION"]

DESCRIPTION = "repository.json"
"""The object that makes a place a repository."""
