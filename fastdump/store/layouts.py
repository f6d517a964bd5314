"""The layouts by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastdump.model import Encoding
from fastdump.store.base import Layout
from fastdump.store.komodo import KomodoLayout

__all__ = ["layout"]

_ENCODINGS = {"komodo": Encoding.BSON, "komodo-json": Encoding.JSON}


def layout(name: str, folder: Path, latest_only: Sequence[str]) -> Layout:
    """The layout of that name, one of `fastdump.model.LAYOUTS`, in that folder."""
    return KomodoLayout(folder, latest_only, _ENCODINGS[name])
