"""The interface of all storages: bytes under keys, written whole and read in ranges.

A key is a relative path: parts joined by slashes, such as `pieces/3f/3fa9c0`. A part is not empty
and does not begin with a dot, so that no key leaves the storage or collides with the hidden files
of a local folder. No key is also the folder of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

__all__ = ["Entry", "Storage", "checked"]


class Entry(NamedTuple):
    """One object in a listing."""

    key: str
    size: int
    """Size in bytes."""
    modified: datetime
    """Time of the `put`, in UTC, by the storage's own clock."""


class Storage(Protocol):
    """Objects of bytes under keys.

    An object appears whole or not at all, and is durable when `put` returns. Nothing changes a part
    of an object. Every method raises `StorageError` if the storage cannot be reached or refuses,
    and its subclass `TransientStorageError` if the same call may succeed later.
    """

    @property
    def shown(self) -> str:
        """The address of the storage for messages, without secrets."""

    @property
    def notes(self) -> Sequence[str]:
        """The guarantees that the storage does not give, as far as that was found out."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object, and replace one that has this key."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken, and return True if it was written.

        If several writers try at the same time, exactly one of them writes.
        """

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return `length` bytes of an object from the byte `start` on, or all up to its end.

        Fewer bytes are returned if the object ends earlier.

        Raises:
            ObjectNotFoundError: no object has this key.
        """

    def size(self, key: str) -> int:
        """Return the size of an object in bytes.

        Raises:
            ObjectNotFoundError: no object has this key.
        """

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Yield the objects whose keys begin with `folder/`, or all objects, in any order."""

    def delete(self, key: str) -> None:
        """Remove an object. A key that no object has is no error."""


def checked(key: str) -> str:
    """Return a key unchanged, after checking it.

    Raises:
        ValueError: the text is not a valid key.
    """
    if any(not part or part.startswith(".") or "\0" in part for part in key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key
