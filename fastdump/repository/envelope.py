"""Encryption of what a repository holds: pieces and manifests, each by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastdump.codec import age

__all__ = ["OPEN", "Envelope"]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The way in which a repository is encrypted; it travels to workers."""

    recipients: tuple[str, ...] = ()
    """Public keys of age; without any, nothing is encrypted."""
    identities: tuple[str, ...] = field(default=(), repr=False)
    """Secret keys of age that are at hand. Writing needs none."""

    @property
    def can_read(self) -> bool:
        """True if nothing is encrypted, or there is an identity to try."""
        return not self.recipients or bool(self.identities)

    def close(self, data: bytes) -> bytes:
        """Return data as it is stored."""
        return age.encrypted(data, self.recipients) if self.recipients else data

    def open(self, data: bytes) -> bytes:
        """Return what was stored.

        Raises:
            FormatError: it is for other keys, or damaged.
        """
        return age.decrypted(data, self.identities) if self.recipients else data


OPEN = Envelope()
"""No encryption."""
