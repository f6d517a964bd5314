"""How a machine writes into a repository: the names of its pieces, and what it must remember."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from fastdump.layouts.manifest import Manifest
from fastdump.model import Bounds, Namespace
from fastdump.repository import manifests
from fastdump.repository.description import Description
from fastdump.repository.envelope import Envelope
from fastdump.repository.memory import Memory, Remembered

__all__ = ["ClearSeal", "MemorySeal", "remembered"]

_KEY_BYTES = 32


class ClearSeal(NamedTuple):
    """The seal of a repository without encryption: everything is in it."""

    key: bytes | None = None

    def close(self, found: Manifest) -> bytes:
        """Return the manifest as an object."""
        return manifests.closed(found, Envelope())

    def remember(self, cuts: Mapping[Namespace, Bounds]) -> None:
        """Do nothing: the manifest says it."""


class MemorySeal:
    """The seal of an encrypted repository.

    Args:
        description: the repository.
        envelope: how it is encrypted.
        memory: the memory of this machine.
        remembered: what this machine remembers of the repository.
        notes: gets a sentence for the user if nothing can be remembered.
    """

    def __init__(
        self,
        description: Description,
        envelope: Envelope,
        memory: Memory,
        remembered: Remembered,
        notes: list[str],
    ) -> None:
        self._id = description.id
        self._envelope = envelope
        self._memory = memory
        self._remembered = msgspec.structs.replace(remembered, recipients=list(envelope.recipients))
        self._notes = notes
        self.key: bytes | None = bytes.fromhex(remembered.key)

    def close(self, found: Manifest) -> bytes:
        """Return the manifest as an object."""
        return manifests.closed(found, self._envelope)

    def remember(self, cuts: Mapping[Namespace, Bounds]) -> None:
        """Remember where collections were cut, beside those that other backups cut."""
        known = self._remembered.with_bounds({**self._remembered.bounds, **cuts})
        note = self._memory.save(self._id, known)
        if note is not None and note not in self._notes:
            self._notes.append(note)


def remembered(newest: Manifest | None) -> Remembered:
    """Return what a machine that remembers nothing begins with.

    Args:
        newest: the newest manifest, if the machine can read it: then it shares its pieces.
    """
    if newest is None or newest.key is msgspec.UNSET:
        return Remembered(secrets.token_hex(_KEY_BYTES), [])
    return Remembered(newest.key, []).with_bounds(manifests.bounds_of(newest))
