"""Delete the folder of a backup: all of it, or nothing."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from glob import escape
from pathlib import Path

from fastdump.errors import StorageError
from fastdump.storage.disk_errors import disk
from fastdump.storage.volume import Volume

__all__ = ["remove_folder"]


def remove_folder(path: Path, hidden: Path, volume: Volume) -> None:
    """Delete a folder, after renaming it to `hidden`.

    Raises:
        StorageError: the folder cannot be deleted; it gets its name back unless parts are gone.
    """
    with disk(path):
        for kept in _undeletable(path):
            raise StorageError(_whose(kept))
        held = _files(path)
        path.rename(hidden)
        # Otherwise a crash of the machine could restore the name with only some of the files.
        volume.sync(path.parent)
    try:
        shutil.rmtree(hidden)
    except OSError as error:
        name = Path(os.fsdecode(error.filename or hidden)).name  # mostly given without its folder
        with disk(path):
            failed = next(hidden.rglob(escape(name)), hidden)
            said = _whose(failed) if isinstance(error, PermissionError) else f"{failed}: {error}"
            if _files(hidden) == held:
                hidden.rename(path)
        raise StorageError(said) from error


def _undeletable(path: Path) -> Iterator[Path]:
    """Yield the folders that are not empty and in which this user may not delete."""
    for folder, folders, files in os.walk(path):
        if (folders or files) and not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            yield Path(folder)


def _files(path: Path) -> int:
    return sum(len(folders) + len(files) for _folder, folders, files in os.walk(path))


def _whose(path: Path) -> str:
    owner, own = _name(path.stat(follow_symlinks=False).st_uid), _name(os.geteuid())
    return (
        f"{path}: this belongs to {owner}, and {own} may not delete it; delete it as {owner}, or "
        "change its owner or its permissions"
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
