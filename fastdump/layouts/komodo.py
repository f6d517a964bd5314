"""Komodo's form of a dated folder: a gzip file per collection, `Stats.gz` beside the folders."""

from __future__ import annotations

from collections.abc import Sequence

from fastdump.layouts.file_names import OPLOG_FILE, file_names
from fastdump.model import OPLOG, Catalog, Encoding, Namespace

__all__ = ["KomodoForm"]


class KomodoForm:
    """Form of the layouts `komodo` and `komodo-json`.

    Args:
        latest_only: collections of which a new backup replaces the only copy.
        encoding: BSON, or the JSON lines of Komodo's own backup.
        level: of gzip.
    """

    def __init__(self, latest_only: Sequence[str], encoding: Encoding, level: int) -> None:
        self.latest_only = frozenset(latest_only)
        self.encoding = encoding
        self.level: int | None = level
        self.layout = "komodo-json" if encoding is Encoding.JSON else "komodo"

    def file_names(self, catalog: Catalog) -> dict[Namespace, str]:
        """Return the file of each collection."""
        names = [one.namespace for one in catalog.collections if one.namespace != OPLOG]
        stems = file_names(name.collection for name in names)
        return {OPLOG: OPLOG_FILE, **{name: f"{stems[name.collection]}.gz" for name in names}}

    def further_files(self, catalog: Catalog) -> dict[str, bytes]:  # noqa: ARG002 - has none
        """Return no files: the manifest contains everything."""
        return {}
