"""Options for the keys of an encrypted repository, and their values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace

from fastdump.cli.asking import asked_secret
from fastdump.config import Settings, read_text
from fastdump.errors import FormatError, UsageError
from fastdump.model import PASSPHRASE, Keys

__all__ = ["add_encryption", "add_identity", "add_passphrase", "keys_of", "reading_keys_of"]


def add_encryption(parser: argparse.ArgumentParser) -> None:
    """Add `--encrypt-to`, for whom a repository is encrypted."""
    parser.add_argument(
        "--encrypt-to",
        metavar="RECIPIENT|FILE",
        action="append",
        help="encrypt a new repository for this public key of age (age1…), for those in a file, or "
        f"with the word {PASSPHRASE}; can be repeated (FASTDUMP_ENCRYPT_TO)",
    )


def add_identity(parser: argparse.ArgumentParser) -> None:
    """Add the options that open an encrypted repository."""
    parser.add_argument(
        "--identity",
        metavar="FILE",
        action="append",
        help="open an encrypted repository with the secret keys of age in this file; can be "
        "repeated (FASTDUMP_IDENTITY)",
    )
    add_passphrase(parser)


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Add `--passphrase-file`."""
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="read the passphrase of a repository from this file (FASTDUMP_PASSPHRASE_FILE); "
        "default: FASTDUMP_PASSPHRASE, else a question on the terminal",
    )


def keys_of(settings: Settings) -> Keys:
    """Return the keys that the settings name.

    Raises:
        UsageError: a file cannot be read, or what is in it is no key.
    """
    return Keys(
        recipients=tuple(_recipients_of(settings)),
        identities=tuple(_identities_of(settings)),
        passphrase=settings.text("passphrase-file"),
        ask=_ask if sys.stdin.isatty() else None,
    )


def reading_keys_of(settings: Settings) -> Keys:
    """Return the keys that open a repository. For whom it should be encrypted does not matter.

    Raises:
        UsageError: a file cannot be read, or what is in it is no key.
    """
    return replace(keys_of(settings), recipients=())


def _recipients_of(settings: Settings) -> Iterator[str]:
    """Yield the public keys for which a repository is encrypted, and the word `passphrase`."""
    from fastdump.codec.age import is_recipient

    for text in settings.texts("encrypt-to"):
        if text == PASSPHRASE or is_recipient(text):
            yield text
            continue
        if text.startswith("age1"):
            raise UsageError(f"--encrypt-to {text} is not a public key of age: copy it once more")
        for line in read_text(text, "--encrypt-to").splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            if not is_recipient(line.strip()):
                raise UsageError(
                    f"--encrypt-to: {text} holds a line that is not a public key of age (age1…)"
                )
            yield line.strip()


def _identities_of(settings: Settings) -> Iterator[str]:
    for path in settings.texts("identity"):
        from fastdump.codec.age import identities_in

        try:
            found = identities_in(read_text(path, "--identity").splitlines())
        except FormatError as error:
            raise UsageError(f"--identity: {path}: {error}") from None
        if not found:
            raise UsageError(f"--identity: {path} holds no secret key of age")
        yield from found


def _ask(is_new: bool) -> str:
    passphrase = asked_secret("New passphrase: " if is_new else "Passphrase of the repository: ")
    if is_new and asked_secret("The same again: ") != passphrase:
        raise UsageError("the two passphrases differ; run the command again")
    return passphrase
