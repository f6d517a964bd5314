"""Options that several commands share, and from options to settings."""

from __future__ import annotations

import argparse
import getpass
import sys
from dataclasses import replace

from fastdump.config import (
    DEFAULT_FOLDER,
    DEFAULT_MAX_BACKUPS,
    Files,
    Origin,
    Settings,
    one_of,
)
from fastdump.errors import UsageError
from fastdump.model import LAYOUTS, Connection
from fastdump.progress import MODES, Reporter, Silent, reporter

__all__ = [
    "add_everywhere",
    "add_files",
    "add_folder",
    "add_layout",
    "add_max_backups",
    "add_server",
    "add_target",
    "add_workers",
    "add_yes",
    "asked_connection",
    "chosen_reporter",
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


def add_layout(parser: argparse.ArgumentParser) -> None:
    """`--layout`, `--latest-only` and `--level`: how a backup is written."""
    parser.add_argument(
        "--layout",
        metavar="|".join(LAYOUTS),
        help="how documents are written: komodo, as BSON; komodo-json, as the JSON lines that "
        "Komodo's own restore reads; mongodump, as what mongorestore reads (FASTDUMP_LAYOUT)",
    )
    parser.add_argument(
        "--latest-only",
        metavar="NAME[,NAME]",
        help="collections of which only the latest copy is kept, by default Stats "
        "(FASTDUMP_LATEST_ONLY)",
    )
    parser.add_argument(
        "--level", metavar="0-3", help="of compression, by default 1 (FASTDUMP_LEVEL)"
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    """What restore and copy do with their target."""
    parser.add_argument(
        "--drop", action="store_true", help="drop each of these collections on the target first"
    )
    indexes = parser.add_mutually_exclusive_group()
    indexes.add_argument(
        "-i", "--index", action="store_true", help="build indexes too, which is the default"
    )
    indexes.add_argument("--no-indexes", action="store_true", help="do not build indexes")
    parser.add_argument(
        "--write-concern",
        metavar="W",
        help="a number of servers, majority, or a name of the server's configuration; by default "
        "that of the URI, else majority (FASTDUMP_WRITE_CONCERN)",
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
    add_files(parser, default=argparse.SUPPRESS)


def add_files(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """`-c` and `-p`: which configuration, before the command's name or after it."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="PATH",
        action="append",
        default=default,
        help="a configuration file or a folder with some, also several times; by default what "
        "is in ~/.config/komodo and here (KOMODO_CLI_CONFIG_PATHS)",
    )
    parser.add_argument(
        "-p",
        "--profile",
        metavar="NAME",
        default=default,
        help="a profile of these files, by its name or alias (KOMODO_CLI_DEFAULT_PROFILE)",
    )


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that these options, the environment and the files make.

    Raises:
        UsageError: a file is missing or malformed, or there is no such profile.
    """
    flags = {
        name.replace("_", "-"): value
        for name, value in vars(options).items()
        if value is None or isinstance(value, str)
    }
    return Settings(flags, files=Files.read(options.config or (), options.profile))


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
    return replace(connection, password=password)


def chosen_reporter(settings: Settings, *, quiet: bool) -> Reporter:
    """How progress is shown."""
    mode = settings.parsed("progress", one_of(MODES))
    return Silent() if quiet else reporter(mode)


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
