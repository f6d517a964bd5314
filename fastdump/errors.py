"""The errors of fastdump in one tree, each with the exit code of the command line.

Every message is one sentence for the user: what happened, to what, and what to do.
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
    "WatcherError",
]


class FastdumpError(Exception):
    """Base of all errors: fastdump could not do all that it was asked to do.

    Attributes:
        exit_code: the exit code of the command line when this error ends it.
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
    """The storage has no object with that key."""


class UsageError(FastdumpError):
    """Options or configuration are wrong or contradict each other."""

    exit_code = 2


class ServerError(FastdumpError):
    """The server cannot be reached, or refuses a request."""

    exit_code = 3


class ReplyError(ServerError, KeyError):
    """A server's reply lacks a required field; also a KeyError, as for any mapping."""

    __str__ = Exception.__str__


class ChunkLostError(ServerError):
    """The connection was lost while reading a chunk that can only be read from its beginning."""


class CollectionChangedError(ServerError):
    """A collection can no longer be read as it was at the wanted moment."""


class SnapshotUnavailableError(ServerError):
    """The server offers no snapshot, or does not keep it for as long as reading takes."""


class BackupNotFoundError(FastdumpError):
    """There is no such backup."""

    exit_code = 4


class BackupDamagedError(FastdumpError):
    """A file of a backup is not valid, or was changed after it was written."""

    exit_code = 4


class FormatError(BackupDamagedError):
    """Bytes do not follow their format; the caller who knows the file adds its name."""


class WatcherError(FastdumpError):
    """Somebody could not be told about a run; the run itself goes on."""
