"""The form of the files in a folder of dated backups: Komodo's layouts and mongodump's."""

from __future__ import annotations

from typing import Protocol

from fastdump.model import Catalog, Encoding, Namespace

__all__ = ["Form"]


class Form(Protocol):
    """The names and contents of a backup's files."""

    layout: str
    """Name of the layout, one of `fastdump.model.LAYOUTS`."""
    encoding: Encoding
    level: int | None
    """Level of gzip; None for plain files."""
    latest_only: frozenset[str]
    """Collections of which only the latest copy is kept, beside the backups."""

    def file_names(self, catalog: Catalog) -> dict[Namespace, str]:
        """Return the file of each collection, in the backup's folder or one folder deeper."""

    def further_files(self, catalog: Catalog) -> dict[str, bytes]:
        """Return the other files that the layout requires, as paths and contents."""
