"""Komodo's form of a dated folder: a gzip file a collection, `Stats.gz` beside the folders."""

from __future__ import annotations

from collections.abc import Sequence

from fastdump.model import Catalog, Encoding
from fastdump.store.names import file_names

__all__ = ["KomodoForm"]


class KomodoForm:
    """How Komodo lays out a backup.

    Args:
        latest_only: collections of which a new backup replaces the old copy.
        encoding: BSON, or the JSON lines of Komodo's own backup.
    """

    def __init__(self, latest_only: Sequence[str], encoding: Encoding) -> None:
        self.latest_only = frozenset(latest_only)
        self.encoding = encoding

    def file_names(self, catalog: Catalog) -> dict[str, str]:
        """The file of each collection."""
        stems = file_names(collection.name for collection in catalog.collections)
        return {name: f"{stem}.gz" for name, stem in stems.items()}

    def further_files(self, catalog: Catalog) -> dict[str, bytes]:  # noqa: ARG002 - has none
        """None: all that is to be said is in the manifest."""
        return {}
