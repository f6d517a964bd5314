"""How a machine writes into a repository: the names of its pieces, and what it must remember."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from fastdump.errors import StorageError
from fastdump.layouts.manifest import Manifest
from fastdump.model import Bounds, Namespace
from fastdump.repository import description, manifests
from fastdump.repository.description import Description
from fastdump.repository.envelope import Envelope
from fastdump.repository.memory import Memory, Remembered
from fastdump.repository.pieces import key_after
from fastdump.storage.interface import Storage

__all__ = ["ClearSeal", "MemorySeal", "followed", "remembered"]

_KEY_BYTES = 32


class ClearSeal(NamedTuple):
    """The seal of a repository without encryption: everything is in it."""

    key: bytes | None = None
    generation: str = ""

    def see_current(self, storage: Storage) -> None:
        """Do nothing: it cannot be encrypted for others."""

    def close(self, found: Manifest) -> bytes:
        """Return the manifest as an object."""
        return manifests.closed(found, Envelope())

    def remember(self, cuts: Mapping[Namespace, Bounds]) -> None:
        """Do nothing: the manifest says it."""


class MemorySeal:
    """The seal of an encrypted repository.

    Args:
        found: the description of the repository.
        envelope: how it is encrypted.
        memory: the memory of this machine.
        remembered: what this machine remembers of the repository.
        notes: gets a sentence for the user if nothing can be remembered.
    """

    def __init__(
        self,
        found: Description,
        envelope: Envelope,
        memory: Memory,
        remembered: Remembered,
        notes: list[str],
    ) -> None:
        self._id = found.id
        self._envelope = envelope
        self._memory = memory
        self._remembered = msgspec.structs.replace(remembered, recipients=list(envelope.recipients))
        self._notes = notes
        self.key: bytes | None = bytes.fromhex(remembered.key)
        self.generation = remembered.generation

    def see_current(self, storage: Storage) -> None:
        """See that the repository was not encrypted for others since.

        Raises:
            StorageError: it was, or the storage cannot be read.
        """
        now = description.read(storage)
        if now is None or now.generation != self.generation:
            raise StorageError(
                f"{storage.shown} was encrypted for others while this backup was made; run the "
                "same command again"
            )

    def close(self, found: Manifest) -> bytes:
        """Return the manifest as an object."""
        return manifests.closed(found, self._envelope)

    def remember(self, cuts: Mapping[Namespace, Bounds]) -> None:
        """Remember where collections were cut, beside those that other backups cut."""
        known = self._remembered.with_bounds({**self._remembered.bounds, **cuts})
        note = self._memory.save(self._id, known)
        if note is not None and note not in self._notes:
            self._notes.append(note)


def followed(known: Remembered | None, found: Description) -> Remembered | None:
    """Return what a machine remembers, with the key of the present generation.

    Args:
        known: what it remembers.
        found: the description of the repository.

    Returns:
        None if it remembers nothing, or of a repository with another history.
    """
    since = None if known is None else found.since(known.generation)
    if known is None or since is None:
        return None
    key = key_after(bytes.fromhex(known.key), since)
    return msgspec.structs.replace(known, key=key.hex(), generation=found.generation)


def remembered(newest: Manifest | None, found: Description) -> Remembered:
    """Return what a machine that remembers nothing begins with.

    Args:
        newest: the newest manifest of the present generation, if the machine can read one: then it
            shares its pieces.
        found: the description of the repository.
    """
    if newest is None or newest.key is msgspec.UNSET:
        return Remembered(secrets.token_hex(_KEY_BYTES), [], generation=found.generation)
    known = Remembered(newest.key, [], generation=found.generation)
    return known.with_bounds(manifests.bounds_of(newest))
