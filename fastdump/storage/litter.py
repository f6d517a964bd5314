"""What a NAS, a Mac or Windows leaves in folders, which can be no part of a backup.

Nothing of a backup is hidden: the name of no collection and of no database begins with a dot. Nor
has any of its files another ending than those that a layout gives.
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
"""In small letters. Some could be the names of databases, of which nobody has heard."""

_NAMED = 3


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without what other programs left there.

    Raises:
        OSError: the folder cannot be read.
    """
    return [path for path in sorted(folder.iterdir()) if not _is_litter(path)]


def entries_below(folder: Path) -> Iterator[Path]:
    """Yield the same, and what is in the folders in it: no layout has files that are deeper.

    Raises:
        OSError: a folder cannot be read.
    """
    for path in entries(folder):
        yield path
        if path.is_dir():
            yield from entries(path)


def about_litter(folder: Path, *inner: Path) -> list[str]:
    """Say what in a folder, and in some that are in it, was ignored.

    Raises:
        OSError: a folder cannot be read.
    """
    found = [path for one in (folder, *inner) for path in one.iterdir() if _is_litter(path)]
    if not found:
        return []
    names = [str(path.relative_to(folder)) for path in sorted(found)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{folder}: ignored what can be no part of a backup: {', '.join(names[:_NAMED])}{more}"]


def _is_litter(path: Path) -> bool:
    if path.name.startswith("."):
        return True
    return path.name.lower() in _FOLDERS if path.is_dir() else not path.name.endswith(_ENDINGS)
