"""The object that makes a place a repository: its format, its key, and for whom it is encrypted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from uuid import uuid4

import msgspec

from fastdump.codec import age
from fastdump.errors import BackupDamagedError, FormatError, ObjectNotFoundError, UsageError
from fastdump.layouts.manifest import NO_CHECKSUM, is_sealed, sealed
from fastdump.model import PASSPHRASE, Keys
from fastdump.repository import DESCRIPTION
from fastdump.repository.envelope import Envelope
from fastdump.repository.manifests import FORMAT
from fastdump.storage.interface import Storage
from fastdump.version import __version__

__all__ = ["Description", "envelope", "make", "read", "replace"]

_TOOL = f"fastdump {__version__}"
_KEY_BYTES = 32
_KEY = re.compile(f"[0-9a-f]{{{2 * _KEY_BYTES}}}")


class Locked(msgspec.Struct, frozen=True):
    """An identity that a passphrase opens."""

    recipient: str
    identity: bytes
    """Encrypted with the passphrase, in base64."""


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """Content of repository.json."""

    format: int
    tool: str
    id: str
    key: str | None = None
    """The key of the names of pieces. In an encrypted repository each machine has its own, since
    with it one could find out whether the repository holds a certain document."""
    recipients: list[str] = []
    """For whom the repository is encrypted: public keys of age."""
    locked: list[Locked] = []
    generations: list[str] = []
    """A random word for each time that the repository was encrypted for others, in order."""
    checksum: str = ""
    """Checksum of the description itself, computed as in manifests."""

    @property
    def generation(self) -> str:
        """The present generation; empty if it was never encrypted for others."""
        return self.generations[-1] if self.generations else ""

    def since(self, generation: str) -> list[str] | None:
        """Return the generations after another; None if that one is not of this repository."""
        known = ["", *self.generations]
        return known[known.index(generation) + 1 :] if generation in known else None


_DESCRIPTIONS = msgspec.json.Decoder(Description)


def read(storage: Storage) -> Description | None:
    """Return the description of a repository; None if there is none.

    Raises:
        BackupDamagedError: it is damaged, or of a later format.
        StorageError: the storage cannot be read.
    """
    where = f"{storage.shown}/{DESCRIPTION}"
    try:
        content = storage.get(DESCRIPTION)
        found = _DESCRIPTIONS.decode(content)
    except ObjectNotFoundError:
        return None
    except ValueError as error:
        raise BackupDamagedError(f"{where}: it describes no repository: {error}") from error
    if found.format > FORMAT:
        raise BackupDamagedError(
            f"{where}: format {found.format} needs a newer fastdump than {__version__}"
        )
    if not all(map(age.is_recipient, found.recipients)):
        raise BackupDamagedError(f"{where}: it names recipients that are no public keys of age")
    if not found.recipients and not _KEY.fullmatch(found.key or ""):
        raise BackupDamagedError(f"{where}: its key is damaged")
    if not is_sealed(content, found.checksum):
        raise BackupDamagedError(f"{where}: it is not what was written")
    return found


def make(storage: Storage, keys: Keys) -> None:
    """Make a repository, unless somebody else is faster.

    Raises:
        UsageError: there is no passphrase.
        StorageError: the storage refuses.
    """
    recipients, locked = _recipients(keys)
    key = None if recipients else secrets.token_hex(_KEY_BYTES)
    made = Description(FORMAT, _TOOL, uuid4().hex, key, recipients, locked)
    storage.put_new(DESCRIPTION, _content(made))


def replace(storage: Storage, found: Description, keys: Keys) -> Description:
    """Encrypt for others from now on, and return the new description.

    The identities that passphrases open stay: what is there already is encrypted for them. If the
    repository is encrypted for just these already, nothing changes.

    Raises:
        UsageError: there is no passphrase, or it cannot be used.
        StorageError: the storage refuses.
    """
    if _is_for(found, keys):
        return found
    recipients, locked = _recipients(keys)
    changed = msgspec.structs.replace(
        found,
        tool=_TOOL,
        recipients=recipients,
        locked=[*found.locked, *locked],
        generations=[*found.generations, uuid4().hex],
    )
    storage.put(DESCRIPTION, _content(changed))
    return changed


def _is_for(found: Description, keys: Keys) -> bool:
    """Return True if a repository is encrypted for just these recipients already."""
    ours = [one for one in found.locked if one.recipient in found.recipients]
    own = {one.recipient for one in ours}
    if set(found.recipients) - own != set(keys.recipients) - {PASSPHRASE}:
        return False
    if PASSPHRASE not in keys.recipients or not own:
        return (PASSPHRASE in keys.recipients) == bool(own)
    return keys.passphrase is not None and any(_opened(one, keys.passphrase) for one in ours)


def envelope(storage: Storage, found: Description, keys: Keys) -> Envelope:
    """Return how the content of a repository is encrypted.

    Raises:
        UsageError: it is encrypted for others than the caller wants, or the passphrase is wrong.
    """
    if keys.recipients:
        _see_same(storage, found, keys)
    return Envelope(tuple(found.recipients), tuple(_identities(storage, found, keys)))


def _see_same(storage: Storage, found: Description, keys: Keys) -> None:
    if not found.recipients:
        raise UsageError(
            f"{storage.shown} is a repository without encryption, which cannot be added: write "
            "into a new one with --encrypt-to; fastdump convert takes the old backups there"
        )
    known, own = set(found.recipients), {one.recipient for one in found.locked}
    wanted = set(keys.recipients) - {PASSPHRASE}
    with_passphrase = known & own if PASSPHRASE in keys.recipients else set()
    if wanted | with_passphrase != known or (PASSPHRASE in keys.recipients and not with_passphrase):
        raise UsageError(
            f"{storage.shown} is encrypted for {_shown(known, own)}, which is not what "
            "--encrypt-to says: fastdump rekey encrypts it for others"
        )


def _shown(recipients: Iterable[str], of_passphrase: set[str]) -> str:
    return ", ".join(sorted("a passphrase" if one in of_passphrase else one for one in recipients))


def _identities(storage: Storage, found: Description, keys: Keys) -> Sequence[str]:
    if not found.recipients:
        return ()
    identities = _checked(keys.identities)
    if not found.locked or keys.passphrase is None:
        return identities
    opened = [_opened(one, keys.passphrase) for one in reversed(found.locked)]
    unlocked = [one for one in opened if one is not None]
    if not unlocked and not identities:
        raise UsageError(f"{storage.shown}: the passphrase is wrong")
    return [*identities, *unlocked]


def _opened(locked: Locked, passphrase: str) -> str | None:
    """Return the identity that a passphrase opens; None if it is another passphrase.

    Raises:
        UsageError: it cannot be tried.
    """
    try:
        return age.unlocked(locked.identity, passphrase)
    except FormatError as error:
        raise UsageError(f"the passphrase cannot be used: {error}") from None


def _checked(identities: Sequence[str]) -> Sequence[str]:
    try:
        return age.identities_in(identities)
    except FormatError as error:
        raise UsageError(f"of the identities, {error}") from None


def _recipients(keys: Keys) -> tuple[list[str], list[Locked]]:
    """Return the public keys of all who may read, and the identity that a passphrase opens."""
    recipients = [one for one in dict.fromkeys(keys.recipients) if one != PASSPHRASE]
    if wrong := [one for one in recipients if not age.is_recipient(one)]:
        raise UsageError(f"{wrong[0]} is not a public key of age (age1…): copy it once more")
    if PASSPHRASE not in keys.recipients:
        return recipients, []
    passphrase = keys.passphrase or (keys.ask(True) if keys.ask else None)
    if not passphrase:
        raise UsageError(
            "there is no passphrase to encrypt with: name a file with it by --passphrase-file, or "
            "set FASTDUMP_PASSPHRASE"
        )
    identity = age.new_identity()
    recipient = age.recipient_of(identity)
    try:
        locked = age.locked(identity, passphrase)
    except FormatError as error:
        raise UsageError(f"the passphrase cannot be used: {error}") from None
    return [*recipients, recipient], [Locked(recipient, locked)]


def _content(made: Description) -> bytes:
    made = msgspec.structs.replace(made, checksum=NO_CHECKSUM)
    return sealed(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n")
