"""The place of backups: a path, or the address of an object store."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SCHEMES", "Location", "is_url"]

Location = Path | str
"""A path of this machine, or the URL of an object store."""

SCHEMES = ("s3", "gs", "az")
"""The beginnings of URLs of object stores: Amazon S3 and its like, Google's, Azure's."""


def is_url(place: Location) -> bool:
    """Return whether a place is in an object store."""
    return isinstance(place, str) and place.startswith(tuple(f"{one}://" for one in SCHEMES))
