"""The things that a machine must remember of an encrypted repository, since it cannot read it.

They stay on the machine that makes backups, and open nothing: the key of the names of pieces, and
names and `_id`s at which collections were cut. Without them, the next backup writes everything once
more.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from blake3 import blake3

from fastdump.errors import StorageError
from fastdump.layouts.manifest import Cuts
from fastdump.model import Bounds, Namespace
from fastdump.storage.interface import Storage

__all__ = ["Memory", "Remembered"]


class _Cut(msgspec.Struct, frozen=True):
    database: str
    name: str
    cuts: Cuts


class Remembered(msgspec.Struct, frozen=True):
    """What is remembered of one repository."""

    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """The key of the names of pieces, hexadecimal."""
    recipients: list[str]
    """For whom the repository was encrypted at the last backup."""
    cuts: list[_Cut] = []
    """Where the last backup of each collection cut it."""
    generation: str = ""
    """The generation of the repository that the key is of."""

    @property
    def bounds(self) -> dict[Namespace, Bounds]:
        """Where the last backup of each collection cut it."""
        return {
            Namespace(one.database, one.name): Bounds(
                ids=tuple(one.cuts.ids), by_filter=one.cuts.by_filter
            )
            for one in self.cuts
        }

    def with_bounds(self, bounds: dict[Namespace, Bounds]) -> Remembered:
        """Return the same with other places where collections were cut."""
        cuts = [
            _Cut(name.database, name.collection, Cuts(list(one.ids), one.by_filter))
            for name, one in bounds.items()
            if one.ids
        ]
        return msgspec.structs.replace(self, cuts=cuts)


_REMEMBERED = msgspec.json.Decoder(Remembered)


class Memory:
    """The memory of a machine.

    Args:
        storage: a folder of this machine; None remembers nothing.
    """

    def __init__(self, storage: Storage | None) -> None:
        self._storage = storage

    def load(self, repository: str) -> Remembered | None:
        """Return what is remembered of a repository; None if it is nothing.

        Args:
            repository: the id of the repository.
        """
        if self._storage is None:
            return None
        try:
            return _REMEMBERED.decode(self._storage.get(_key(repository)))
        except (StorageError, msgspec.DecodeError):
            return None

    def save(self, repository: str, remembered: Remembered) -> str | None:
        """Remember that of a repository; return a note for the user if it cannot be written."""
        if self._storage is None:
            return None
        try:
            self._storage.put(_key(repository), msgspec.json.encode(remembered))
        except StorageError as error:
            return (
                f"{error}: what this machine must remember of an encrypted repository is lost, so "
                "the next backup writes everything again; set XDG_STATE_HOME to a folder that stays"
            )
        return None


def _key(repository: str) -> str:
    # An id comes from the repository, so it could be anything.
    return f"{blake3(repository.encode()).hexdigest(16)}.json"
