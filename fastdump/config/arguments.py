"""Checks of what the Python API is given: the limits are those of the command line's options."""

from __future__ import annotations

from fastdump.config.names import default_workers
from fastdump.errors import UsageError
from fastdump.model import CONSISTENCIES, LAYOUTS, LEVELS, LoadOptions, ReadOptions, WriteOptions

__all__ = [
    "MAX_WORKERS",
    "checked_loading",
    "checked_mode",
    "checked_number",
    "checked_reading",
    "checked_word",
    "checked_workers",
    "checked_writing",
]

MAX_WORKERS = 256
"""More than any server gains from."""


def checked_number(name: str, value: int, minimum: int, maximum: int | None = None) -> int:
    """Return the number, if it is in that range.

    Raises:
        UsageError: it is not.
    """
    if value < minimum or (maximum is not None and value > maximum):
        upper = "" if maximum is None else f" and at most {maximum}"
        raise UsageError(f"{name} is {value}, but must be at least {minimum}{upper}")
    return value


def checked_word(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return the word, if it is one of those.

    Raises:
        UsageError: it is not.
    """
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}, but must be one of {', '.join(allowed)}")
    return value


def checked_workers(workers: int | None) -> int:
    """Return a number of processes; by default the smaller of 4 and the number of cores.

    Raises:
        UsageError: it is too small or too large.
    """
    return (
        default_workers() if workers is None else checked_number("workers", workers, 1, MAX_WORKERS)
    )


def checked_mode(mode: int) -> int:
    """Return permissions of files that their owner can read and write.

    Raises:
        UsageError: the owner could not, or they are no permissions.
    """
    if mode & ~0o777 or mode & 0o600 != 0o600:
        raise UsageError(f"mode is {mode:#o}, but must be permissions of files such as 0o600")
    return mode


def checked_reading(reading: ReadOptions | None) -> ReadOptions:
    """Return how to read a server.

    Raises:
        UsageError: a value is not allowed.
    """
    found = reading or ReadOptions()
    checked_word("consistency", found.consistency, CONSISTENCIES)
    for name in ("max_rate", "max_lock_seconds"):
        value: float | None = getattr(found, name)
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}, but must be above zero")
    return found


def checked_writing(writing: WriteOptions | None) -> WriteOptions:
    """Return the form in which to write a backup.

    Raises:
        UsageError: a value is not allowed.
    """
    found = writing or WriteOptions()
    checked_word("layout", found.layout, LAYOUTS)
    checked_number("level", found.level, min(LEVELS), max(LEVELS))
    checked_mode(found.mode)
    return found


def checked_loading(options: LoadOptions | None) -> LoadOptions:
    """Return how to write documents.

    Raises:
        UsageError: options contradict each other.
    """
    found = options or LoadOptions()
    if found.preserve_uuid and not found.drop:
        raise UsageError("preserve_uuid needs drop: a collection that is there keeps its UUID")
    if found.oplog_limit is not None and not found.oplog_replay:
        raise UsageError("oplog_limit says where oplog_replay ends, so it needs that")
    if found.oplog_file is not None and not found.oplog_replay:
        raise UsageError("oplog_file is what oplog_replay replays, so it needs that")
    return found
