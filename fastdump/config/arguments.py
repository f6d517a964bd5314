"""Check the arguments of the Python API; the limits are those of the command line's options."""

from __future__ import annotations

from datetime import timedelta

from fastdump.config.names import default_workers
from fastdump.errors import UsageError
from fastdump.model import (
    CONSISTENCIES,
    LAYOUTS,
    METHODS,
    PERIODS,
    Compression,
    LoadOptions,
    ReadOptions,
    Retention,
    WriteOptions,
)

__all__ = [
    "MAX_WORKERS",
    "checked_compression",
    "checked_loading",
    "checked_mode",
    "checked_number",
    "checked_reading",
    "checked_retention",
    "checked_share",
    "checked_word",
    "checked_workers",
    "checked_writing",
]

MAX_WORKERS = 256
"""Largest number of processes; no server gains from more."""


def checked_number(name: str, value: int, minimum: int, maximum: int | None = None) -> int:
    """Return the number, if it is within the limits.

    Raises:
        UsageError: the number is too small or too large.
    """
    if value < minimum or (maximum is not None and value > maximum):
        upper = "" if maximum is None else f" and at most {maximum}"
        raise UsageError(f"{name} is {value}, but must be at least {minimum}{upper}")
    return value


def checked_retention(max_backups: int, retention: Retention | None) -> Retention:
    """Return the rules, or those that keep a number of newest backups.

    Raises:
        UsageError: a number is below zero.
    """
    if retention is None:
        return Retention(last=checked_number("max_backups", max_backups, 0))
    for rule in ("last", *PERIODS):
        checked_number(f"retention.{rule}", getattr(retention, rule), 0)
    if retention.within is not None and retention.within < timedelta():
        raise UsageError("retention.within is below zero: use a positive time, or None")
    return retention


def checked_share(name: str, value: float) -> float:
    """Return the share, if it is above 0 and at most 1.

    Raises:
        UsageError: it is not.
    """
    if not 0 < value <= 1:
        raise UsageError(f"{name} is {value}, but must be above 0 and at most 1")
    return value


def checked_word(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return the word, if it is an allowed one.

    Raises:
        UsageError: the word is not allowed.
    """
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}, but must be one of {', '.join(allowed)}")
    return value


def checked_workers(workers: int | None) -> int:
    """Return the number of processes; for None the smaller of 4 and the number of cores.

    Raises:
        UsageError: the number is too small or too large.
    """
    return (
        default_workers() if workers is None else checked_number("workers", workers, 1, MAX_WORKERS)
    )


def checked_mode(mode: int) -> int:
    """Return the permissions, if they let the owner read and write.

    Raises:
        UsageError: they are not permissions, or the owner could not read or write the files.
    """
    if mode & ~0o777 or mode & 0o600 != 0o600:
        raise UsageError(f"mode is {mode:#o}, but must be permissions of files such as 0o600")
    return mode


def checked_reading(reading: ReadOptions | None) -> ReadOptions:
    """Return the options of reading, or their defaults for None.

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


def checked_compression(compression: Compression) -> Compression:
    """Return the way of compressing, if there is one with this name and level.

    Raises:
        UsageError: there is none.
    """
    lowest, highest, _usual = METHODS[
        checked_word("compression", compression.method, tuple(METHODS))
    ]
    name = f"level of {compression.method}"
    checked_number(name, compression.effort, lowest, highest)
    return compression


def checked_writing(writing: WriteOptions | None) -> WriteOptions:
    """Return the options of writing a backup, or their defaults for None.

    Raises:
        UsageError: a value is not allowed.
    """
    found = writing or WriteOptions()
    checked_word("layout", found.layout, LAYOUTS)
    checked_compression(found.compression)
    checked_mode(found.mode)
    return found


def checked_loading(options: LoadOptions | None) -> LoadOptions:
    """Return the options of loading documents, or their defaults for None.

    Raises:
        UsageError: options contradict each other.
    """
    found = options or LoadOptions()
    if found.preserve_uuid and not found.drop:
        raise UsageError("preserve_uuid needs drop: an existing collection keeps its UUID")
    if found.oplog_limit is not None and not found.oplog_replay:
        raise UsageError("oplog_limit needs oplog_replay: set oplog_replay=True")
    if found.oplog_file is not None and not found.oplog_replay:
        raise UsageError("oplog_file needs oplog_replay: set oplog_replay=True")
    return found
