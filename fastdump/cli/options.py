"""Options that several commands share, and from options to settings."""

from __future__ import annotations

import argparse
import getpass
import sys

from fastdump.config import (
    DEFAULT_FOLDER,
    DEFAULT_MAX_BACKUPS,
    Origin,
    Settings,
    one_of,
)
from fastdump.errors import UsageError
from fastdump.model import Connection
from fastdump.progress import MODES, Reporter, Silent, reporter

__all__ = [
    "add_everywhere",
    "add_folder",
    "add_max_backups",
    "add_server",
    "add_workers",
    "add_yes",
    "asked_connection",
    "chosen_reporter",
    "chosen_workers",
    "confirm",
    "settings_of",
]


def add_server(parser: argparse.ArgumentParser, origin: Origin) -> None:
    """The options that describe a server."""
    group = parser.add_argument_group(f"the {origin.role} server")
    flag, variable = f"--{origin.flag}", origin.variable
    group.add_argument(
        f"{flag}uri",
        metavar="URI",
        help=f"mongodb://host:port/database; better in {variable}URI, where no process list "
        "shows a password",
    )
    group.add_argument(
        f"{flag}address", metavar="HOST:PORT", help=f"instead of a URI ({variable}ADDRESS)"
    )
    group.add_argument(f"{flag}username", metavar="NAME", help=f"({variable}USERNAME)")
    group.add_argument(
        f"{flag}password-file",
        metavar="FILE",
        help=f"a file that holds the password ({variable}PASSWORD_FILE); without it, the "
        f"password is asked for, or comes from {variable}PASSWORD",
    )
    database = "target-db" if origin.flag else "db"
    group.add_argument(
        f"--{database}",
        metavar="NAME",
        help=f"the database; by default that of the URI, else komodo ({variable}DB_NAME)",
    )


def add_folder(parser: argparse.ArgumentParser) -> None:
    """`-f`, the backups folder."""
    parser.add_argument(
        "-f",
        "--folder",
        "--backups-folder",
        metavar="FOLDER",
        help=f"the backups folder, by default {DEFAULT_FOLDER} (KOMODO_CLI_BACKUPS_FOLDER)",
    )


def add_max_backups(parser: argparse.ArgumentParser) -> None:
    """`--max-backups`, how many to keep."""
    parser.add_argument(
        "--max-backups",
        metavar="N",
        help=f"how many backups to keep, by default {DEFAULT_MAX_BACKUPS}; 0 keeps all "
        "(KOMODO_CLI_MAX_BACKUPS)",
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """`-j`, how many processes."""
    parser.add_argument(
        "-j",
        "--workers",
        metavar="N",
        help="number of processes, by default the smaller of 4 and the number of cores "
        "(FASTDUMP_WORKERS)",
    )


def add_yes(parser: argparse.ArgumentParser) -> None:
    """`-y`, no questions."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before it begins")


def add_everywhere(parser: argparse.ArgumentParser) -> None:
    """The options of every command."""
    parser.add_argument(
        "--progress",
        metavar="|".join(MODES),
        help="how to show progress: by default a bar on a terminal and log lines elsewhere "
        "(FASTDUMP_PROGRESS)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that these options and the environment make."""
    flags = {
        name.replace("_", "-"): value
        for name, value in vars(options).items()
        if value is None or isinstance(value, str)
    }
    return Settings(flags)


def asked_connection(settings: Settings, origin: Origin) -> Connection:
    """The server of that role, with the password asked for on a terminal where it is missing."""
    connection = settings.connection(origin)
    if connection.username is None or connection.password is not None:
        return connection
    if not sys.stdin.isatty():
        raise UsageError(
            f"user {connection.username!r} has no password: name a file that holds it with "
            f"--{origin.flag}password-file, or set {origin.variable}PASSWORD"
        )
    password = getpass.getpass(f"Password of {connection.username} on {connection.shown}: ")
    return Connection(connection.uri, connection.shown, connection.username, password)


def chosen_reporter(settings: Settings, *, quiet: bool) -> Reporter:
    """How progress is shown."""
    mode = settings.parsed("progress", one_of(MODES), "auto")
    return Silent() if quiet else reporter(mode)


def chosen_workers(settings: Settings) -> int:
    """How many processes."""
    from fastdump.engine.pool import default_workers

    return settings.workers(default_workers())


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; elsewhere `-y` must have said yes.

    Raises:
        UsageError: there is nobody to ask.
        KeyboardInterrupt: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask on: add -y if you mean it")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KeyboardInterrupt
