"""Ignore files and folders that a NAS, a Mac or Windows leaves among the files of a backup.

A finished backup has no hidden files: names of collections and databases do not begin with a dot.
All its files have one of the endings that layouts use.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["about_litter", "entries", "entries_below"]

_ENDINGS = (".gz", ".bson", ".json", ".bin")
_FOLDERS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recycle",
        "__macosx",
        "lost+found",
        "system volume information",
    }
)
"""Names in lower case. Some are possible names of databases, but none is known."""

_NAMED = 3
"""Number of names in a note."""


def entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted, without those of other programs.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path for path in sorted(folder.iterdir()) if not _is_litter(path)]


def entries_below(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder and of the folders in it; no layout has deeper files.

    Raises:
        OSError: a folder cannot be read.
    """
    for path in entries(folder):
        yield path
        if path.is_dir():
            yield from entries(path)


def about_litter(folder: Path, *inner: Path) -> list[str]:
    """Return a note about everything ignored in a folder and in some of its inner folders.

    Raises:
        OSError: a folder cannot be read.
    """
    found = [path for one in (folder, *inner) for path in one.iterdir() if _is_litter(path)]
    if not found:
        return []
    names = [str(path.relative_to(folder)) for path in sorted(found)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{folder}: ignored, not part of a backup: {', '.join(names[:_NAMED])}{more}"]


def _is_litter(path: Path) -> bool:
    if path.name.startswith("."):
        return True
    return path.name.lower() in _FOLDERS if path.is_dir() else not path.name.endswith(_ENDINGS)
