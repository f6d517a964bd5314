"""Ask the user on a terminal: for a password, for a passphrase, for a yes."""

from __future__ import annotations

import getpass
import sys
from dataclasses import replace

from fastdump.config import Origin, Settings
from fastdump.errors import UsageError
from fastdump.model import Connection

__all__ = ["asked_connection", "asked_secret", "confirm"]


def asked_connection(settings: Settings, origin: Origin) -> Connection:
    """Return the server of that role; ask for a missing password on a terminal.

    Raises:
        UsageError: the password is missing, and there is no terminal.
    """
    connection = settings.connection(origin)
    if connection.username is None or connection.password is not None:
        return connection
    if not sys.stdin.isatty():
        raise UsageError(
            f"there is no password for user {connection.username!r}: name a file with it by "
            f"--{origin.flag}password-file, or set {origin.variable}PASSWORD"
        )
    password = asked_secret(f"Password of {connection.username} on {connection.shown}: ")
    return replace(connection, password=password)


def asked_secret(prompt: str) -> str:
    """Return what the user types, which is not shown.

    Raises:
        UsageError: nothing was typed.
    """
    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise UsageError("nothing was typed") from None


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation on a terminal, unless `-y` was given.

    Raises:
        UsageError: there is no terminal.
        KeyboardInterrupt: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} There is no terminal to ask on: add -y to begin without this question"
        )
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KeyboardInterrupt
