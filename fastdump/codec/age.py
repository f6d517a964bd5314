"""Encryption in the format age (https://age-encryption.org/v1), for recipients or a passphrase.

A recipient is a public key, `age1…`; the identity that belongs to it, `AGE-SECRET-KEY-1…`, opens
what is encrypted for it. The program `age` reads all of this too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyrage
from pyrage import passphrase as scrypt
from pyrage import x25519

from fastdump.errors import FormatError

__all__ = [
    "decrypted",
    "encrypted",
    "identities_in",
    "is_recipient",
    "locked",
    "new_identity",
    "recipient_of",
    "unlocked",
]

_IDENTITY = "AGE-SECRET-KEY-1"
_EXCESSIVE = "Excessive work"
"""Beginning of what pyrage says if a passphrase was set on a machine that is much faster."""


def encrypted(data: bytes, recipients: Sequence[str]) -> bytes:
    """Return data that each of the recipients can read."""
    return pyrage.encrypt(data, [x25519.Recipient.from_str(one) for one in recipients])


def decrypted(data: bytes, identities: Sequence[str]) -> bytes:
    """Return what was encrypted for one of these identities.

    Raises:
        FormatError: it is for others, or damaged.
    """
    try:
        return pyrage.decrypt(data, [x25519.Identity.from_str(one) for one in identities])
    except pyrage.DecryptError as error:
        raise FormatError(f"it cannot be decrypted: {error}") from error


def is_recipient(text: str) -> bool:
    """Return True if the text is a public key."""
    try:
        x25519.Recipient.from_str(text)
    except (pyrage.RecipientError, UnicodeError):
        return False
    return True


def identities_in(lines: Iterable[str]) -> list[str]:
    """Return the identities in a file that `age-keygen` wrote.

    Raises:
        FormatError: a line is not an identity; the message does not repeat it.
    """
    found = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        try:
            recipient_of(line)
        except (pyrage.IdentityError, UnicodeError):
            raise FormatError(
                f"line {number} is not an identity of age, which begins with {_IDENTITY}"
            ) from None
        found.append(line)
    return found


def new_identity() -> str:
    """Return a new identity."""
    return str(x25519.Identity.generate())


def recipient_of(identity: str) -> str:
    """Return the public key that belongs to an identity."""
    return str(x25519.Identity.from_str(identity).to_public())


def locked(text: str, passphrase: str) -> bytes:
    """Return a text that only the passphrase opens; it takes about a second, on purpose.

    Raises:
        FormatError: the passphrase is not valid text.
    """
    try:
        return scrypt.encrypt(text.encode(), passphrase)
    except UnicodeError:
        raise FormatError("it is not text in UTF-8") from None


def unlocked(data: bytes, passphrase: str) -> str | None:
    """Return the text that the passphrase opens; None if it is another passphrase.

    Raises:
        FormatError: the passphrase is not valid text, or this machine is too slow to try it.
    """
    try:
        return scrypt.decrypt(data, passphrase).decode()
    except pyrage.DecryptError as error:
        if _EXCESSIVE in str(error):
            raise FormatError(
                "to try it would take this machine far longer than the one that set it; use a "
                "faster one, or one that is not busy"
            ) from error
        return None
    except UnicodeError:
        raise FormatError("it is not text in UTF-8") from None
