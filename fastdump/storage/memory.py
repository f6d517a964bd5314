"""A storage in memory, which ends with the process: for tests and experiments."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from fastdump.errors import ObjectNotFoundError
from fastdump.storage.interface import Entry, checked

__all__ = ["MemoryStorage"]


class MemoryStorage:
    """Storage in a dictionary."""

    shown = "memory"
    notes: Sequence[str] = ()

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        """Write an object, and replace one that has this key."""
        self._objects[checked(key)] = bytes(data), datetime.now(UTC)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken, and return True if it was written."""
        with self._lock:
            if checked(key) in self._objects:
                return False
            self.put(key, data)
            return True

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object."""
        end = None if length is None else start + length
        return self._object(key)[0][start:end]

    def size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        return len(self._object(key)[0])

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Yield all objects of a folder."""
        prefix = f"{checked(folder)}/" if folder else ""
        for key, (data, modified) in list(self._objects.items()):
            if key.startswith(prefix):
                yield Entry(key, len(data), modified)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._objects.pop(checked(key), None)

    def _object(self, key: str) -> tuple[bytes, datetime]:
        try:
            return self._objects[checked(key)]
        except KeyError:
            raise ObjectNotFoundError(f"{self.shown}: there is no {key}") from None
