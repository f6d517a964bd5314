"""The one tree of errors, each with the exit code that the command line ends with.

Every message is one sentence for the person who reads it: what happened, to what, and what to do.
"""

from __future__ import annotations

__all__ = [
    "BackupDamagedError",
    "BackupNotFoundError",
    "ChunkLostError",
    "CollectionChangedError",
    "FastdumpError",
    "FormatError",
    "IncompleteError",
    "ObjectNotFoundError",
    "RemoteStorageError",
    "ReplyError",
    "ServerError",
    "SnapshotUnavailableError",
    "StorageError",
    "TransientStorageError",
    "UsageError",
]


class FastdumpError(Exception):
    """Something that fastdump was asked to do was not done.

    Attributes:
        exit_code: what the command line exits with when this error ends it.
    """

    exit_code = 1


class IncompleteError(FastdumpError):
    """Part of the data was not written or not read, and the message says which."""


class StorageError(FastdumpError):
    """The folder of backups cannot be read or written: full, missing, not permitted."""


class RemoteStorageError(StorageError):
    """An object store cannot be reached, or it refuses what it was asked."""

    exit_code = 3


class TransientStorageError(RemoteStorageError):
    """The storage cannot be reached or refuses, and the same call may succeed later."""


class ObjectNotFoundError(StorageError):
    """The storage holds no object of that key."""


class UsageError(FastdumpError):
    """Options or configuration that are wrong or contradict each other."""

    exit_code = 2


class ServerError(FastdumpError):
    """The server cannot be reached, or it refuses what it was asked."""

    exit_code = 3


class ReplyError(ServerError, KeyError):
    """A server's reply lacks a field that it must have; also a KeyError, as for any mapping."""

    __str__ = Exception.__str__


class ChunkLostError(ServerError):
    """The server went away in the middle of what can only be read from its beginning."""


class CollectionChangedError(ServerError):
    """A collection can no longer be read as it was at the moment that is wanted."""


class SnapshotUnavailableError(ServerError):
    """The server cannot be read as it was at one moment, or not for as long as that takes."""


class BackupNotFoundError(FastdumpError):
    """There is no such backup."""

    exit_code = 4


class BackupDamagedError(FastdumpError):
    """A file of a backup is not what a backup holds, or no longer what was written."""

    exit_code = 4


class FormatError(BackupDamagedError):
    """Bytes that are not what their format says; whoever knows the file adds its name."""
