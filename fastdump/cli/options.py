"""Options that several commands share, and from options to settings."""

from __future__ import annotations

import argparse
import getpass
import sys
from dataclasses import replace
from pathlib import Path

from fastdump.config import (
    CONNECTION_OPTIONS,
    DEFAULT_FOLDER,
    DEFAULT_MAX_BACKUPS,
    SEPARATOR,
    Files,
    Origin,
    Settings,
    cluster_time,
    one_of,
)
from fastdump.errors import UsageError
from fastdump.model import LAYOUTS, Connection, LoadOptions
from fastdump.progress import MODES, Reporter, Silent, reporter

__all__ = [
    "add_everywhere",
    "add_files",
    "add_folder",
    "add_layout",
    "add_max_backups",
    "add_rare",
    "add_retry",
    "add_security",
    "add_server",
    "add_target",
    "add_users_and_roles",
    "add_workers",
    "add_yes",
    "asked_connection",
    "chosen_reporter",
    "confirm",
    "load_options_of",
    "say_of_uri",
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
        f"{flag}address",
        metavar="HOST:PORT",
        help=f"instead of a URI; also several, or the path of a socket ({variable}ADDRESS)",
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


def add_security(parser: argparse.ArgumentParser, origin: Origin) -> None:
    """Add the options for TLS and for how a user is authenticated."""
    group = parser.add_argument_group(f"the {origin.role} server: TLS and authentication")
    flag = f"--{origin.flag}"
    for name, option in CONNECTION_OPTIONS.items():
        aliases = [f"{flag}{option.alias}"] if option.alias and option.alias != name else []
        if option.is_switch:
            group.add_argument(
                f"{flag}{name}", *aliases, action="store_const", const="true", help=option.about
            )
        else:
            metavar = "FILE" if name.endswith("file") else "VALUE"
            group.add_argument(f"{flag}{name}", *aliases, metavar=metavar, help=option.about)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """`-f`, the backups folder."""
    parser.add_argument(
        "-f",
        "--folder",
        "--backups-folder",
        metavar="FOLDER",
        help="the backups folder, or a repository in an object store, as s3://BUCKET/PREFIX, gs:// "
        f"or az://; by default {DEFAULT_FOLDER} (KOMODO_CLI_BACKUPS_FOLDER)",
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
    """Add `--layout`, `--out` and `--gzip`: in which form a backup is written, and where."""
    parser.add_argument(
        "--layout",
        metavar="|".join(LAYOUTS),
        help="how documents are written: komodo, as BSON; komodo-json, as the JSON lines that "
        "Komodo's own restore reads; mongodump and archive, as what mongorestore reads; "
        "repository, as pieces that backups share; these three hold all databases where none is "
        "named. By default komodo, or repository in object stores and where there is one "
        "(FASTDUMP_LAYOUT)",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="PATH",
        help="one backup there, instead of a dated one in the backups folder: for an archive a "
        "file, or - for standard output (FASTDUMP_OUT)",
    )
    parser.add_argument(
        "--gzip",
        action="store_const",
        const="true",
        help="compress, which is the default (FASTDUMP_GZIP)",
    )
    parser.add_argument(
        "--no-gzip",
        action="store_const",
        const="false",
        dest="gzip",
        help="do not compress, in the layouts mongodump, archive and repository",
    )


def add_rare(parser: argparse.ArgumentParser) -> None:
    """Add how a backup is written, as far as the defaults suit nearly everybody."""
    group = parser.add_argument_group("rarely needed")
    group.add_argument(
        "--latest-only",
        metavar="NAME[,NAME]",
        help="collections of which only the latest copy is kept, by default Stats "
        "(FASTDUMP_LATEST_ONLY)",
    )
    group.add_argument(
        "--level", metavar="0-3", help="level of compression, by default 1 (FASTDUMP_LEVEL)"
    )
    group.add_argument(
        "--mode", metavar="MODE", help="permissions of the files, by default 600 (FASTDUMP_MODE)"
    )


def add_users_and_roles(parser: argparse.ArgumentParser) -> None:
    """`--users-and-roles`."""
    parser.add_argument(
        "--users-and-roles",
        action="store_true",
        help="the users and roles of the database too, or of all",
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
    group = parser.add_argument_group("how documents are written")
    for flag, about in _SWITCHES.items():
        group.add_argument(f"--{flag}", action="store_true", help=about)


_SWITCHES = {
    "preserve-uuid": "make collections with the UUID that they had; needs --drop",
    "no-options-restore": "make collections without the options that they had",
    "keep-index-version": "build indexes in the version that they had",
    "bypass-document-validation": "write documents that a collection's validator refuses",
    "maintain-insertion-order": "load a collection's documents in their order, by one process",
    "stop-on-error": "end with the first document that cannot be written",
    "objcheck": "decode every document before it is sent, and count what is none",
}


def load_options_of(settings: Settings, options: argparse.Namespace) -> LoadOptions:
    """How documents are written.

    Raises:
        UsageError: options contradict each other.
    """
    if options.preserve_uuid and not options.drop:
        raise UsageError("--preserve-uuid needs --drop: a collection that is there keeps its UUID")
    replay = getattr(options, "oplog_replay", False)
    limit = settings.parsed("oplog-limit", cluster_time) if replay else None
    oplog_file = settings.text("oplog-file") if replay else None
    if not replay and getattr(options, "oplog_limit", None):
        raise UsageError("--oplog-limit says where --oplog-replay ends: add that")
    if not replay and getattr(options, "oplog_file", None):
        raise UsageError("--oplog-file is what --oplog-replay replays: add that")
    return LoadOptions(
        drop=options.drop,
        indexes=not options.no_indexes,
        keep_index_version=options.keep_index_version,
        collection_options=not options.no_options_restore,
        preserve_uuid=options.preserve_uuid,
        bypass_validation=options.bypass_document_validation,
        in_order=options.maintain_insertion_order,
        stop_on_error=options.stop_on_error or options.maintain_insertion_order,
        check_documents=options.objcheck,
        salvage=getattr(options, "salvage", False),
        users_and_roles=getattr(options, "users_and_roles", False),
        oplog_replay=replay,
        oplog_limit=limit,
        oplog_file=Path(oplog_file) if oplog_file else None,
        write_concern=settings.text("write-concern"),
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


def add_retry(parser: argparse.ArgumentParser) -> None:
    """`--retry-for`."""
    parser.add_argument(
        "--retry-for",
        metavar="SECONDS",
        help="how long to try again when a server goes away, by default 60 (FASTDUMP_RETRY_FOR)",
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
        name.replace("_", "-"): SEPARATOR.join(value) if isinstance(value, list) else value
        for name, value in vars(options).items()
        if value is None or isinstance(value, str | list)
    }
    bare = "database_target" if options.command == "restore" else "database"
    return Settings(flags, files=Files.read(options.config or (), options.profile, bare=bare))


def say_of_uri(reporter: Reporter, *connections: Connection) -> None:
    """Tell the user once what the driver leaves out of connection strings."""
    from fastdump.mongo.client import uri_notes

    for connection in connections:
        for note in uri_notes(connection):
            reporter.note(note)


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
