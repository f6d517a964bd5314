"""A wrapper around a storage that retries calls after transient errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from fastdump.errors import ObjectNotFoundError, TransientStorageError
from fastdump.storage.interface import Entry, Storage

__all__ = ["RetryingStorage"]

_LONGEST_PAUSE_SECONDS = 5.0


class RetryingStorage:
    """Wrapper around a storage, which retries each call with growing pauses.

    Args:
        storage: the storage.
        seconds: the time of retrying, in seconds from the first attempt on.
        first_pause: the longest first pause, in seconds.
    """

    def __init__(self, storage: Storage, seconds: float, first_pause: float = 0.2) -> None:
        self._storage = storage
        self._seconds = seconds
        self._first_pause = first_pause

    @property
    def shown(self) -> str:
        """The address of the wrapped storage."""
        return self._storage.shown

    @property
    def notes(self) -> Sequence[str]:
        """The guarantees that the other storage does not give."""
        return self._storage.notes

    def put(self, key: str, data: bytes) -> None:
        """Write an object, and replace one that has this key."""
        self._attempts()(self._storage.put, key, data)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object unless the key is taken, and return True if it was written.

        A failed attempt may have written the object, if only its reply was lost. Then the object
        under the key has exactly these bytes, and counts as written.
        """
        attempts = self._attempts()
        if attempts(self._storage.put_new, key, data):
            return True
        if attempts.statistics["attempt_number"] == 1:
            return False
        with suppress(ObjectNotFoundError):
            return self.size(key) == len(data) and self.get(key) == data
        return False

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object."""
        return self._attempts()(self._storage.get, key, start, length)

    def size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        return self._attempts()(self._storage.size, key)

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Yield all objects of a folder, once the whole listing has succeeded."""
        return iter(self._attempts()(lambda: list(self._storage.list(folder))))

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._attempts()(self._storage.delete, key)

    def _attempts(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(TransientStorageError),
            stop=stop_after_delay(self._seconds),
            wait=wait_random_exponential(multiplier=self._first_pause, max=_LONGEST_PAUSE_SECONDS),
            reraise=True,
        )
