"""Options that several commands share, and functions that turn options into settings."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastdump.cli import log
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
from fastdump.model import GZIP, LAYOUTS, NONE, PERIODS, Connection, LoadOptions
from fastdump.progress import MODES, SHOWN, Logged, Reporter, Silent, reporter

__all__ = [
    "LOAD_SWITCHES",
    "add_everywhere",
    "add_files",
    "add_folder",
    "add_layout",
    "add_rare",
    "add_retention",
    "add_security",
    "add_server",
    "add_target",
    "add_users_and_roles",
    "add_workers",
    "add_yes",
    "chosen_reporter",
    "load_options_of",
    "say_of_uri",
    "settings_of",
]


def add_server(parser: argparse.ArgumentParser, origin: Origin) -> None:
    """The options that describe a server."""
    group = parser.add_argument_group(f"{origin.role} server")
    flag, variable = f"--{origin.flag}", origin.variable
    group.add_argument(
        f"{flag}uri",
        metavar="URI",
        help=f"mongodb://host:port/database; if it holds a password, set {variable}URI instead, "
        "which no process list shows",
    )
    group.add_argument(
        f"{flag}address",
        metavar="HOST:PORT",
        help="use this address instead of a URI; several are separated by commas; the path of a "
        f"Unix socket works too ({variable}ADDRESS)",
    )
    group.add_argument(
        f"{flag}username", metavar="NAME", help=f"log in as this user ({variable}USERNAME)"
    )
    group.add_argument(
        f"{flag}password-file",
        metavar="FILE",
        help=f"read the password from this file ({variable}PASSWORD_FILE); default: "
        f"{variable}PASSWORD, else a question on the terminal",
    )
    database = "target-db" if origin.flag else "db"
    group.add_argument(
        f"--{database}",
        metavar="NAME",
        help=f"name of the database ({variable}DB_NAME); default: that of the URI, else komodo"
        + (", but a dump or archive goes to the databases it names" if origin.flag else ""),
    )


def add_security(parser: argparse.ArgumentParser, origin: Origin) -> None:
    """Add the options for TLS and for how a user is authenticated."""
    group = parser.add_argument_group(
        f"{origin.role} server: TLS and authentication",
        f"Each has an environment variable, such as {origin.option('tls-ca-file').variables[0]}.",
    )
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
    """Add `-f`, the folder of backups."""
    parser.add_argument(
        "-f",
        "--folder",
        "--backups-folder",
        metavar="FOLDER",
        help="folder that holds the backups, or the address of a repository in an object store, as "
        "s3://BUCKET/PREFIX, gs:// or az:// (KOMODO_CLI_BACKUPS_FOLDER); default: "
        f"{DEFAULT_FOLDER}",
    )


def add_retention(parser: argparse.ArgumentParser) -> None:
    """Add `--keep-last` and the other rules by which old backups stay."""
    group = parser.add_argument_group(
        "which backups stay",
        "A backup stays if one rule keeps it. Hours, days and so on are those in UTC, and\n"
        "only those with a backup count. Backups of different databases are counted apart.",
    )
    group.add_argument(
        "--max-backups",
        "--keep-last",
        metavar="N",
        help="number of newest backups to keep, 0 keeps all if there is no other rule "
        f"(KOMODO_CLI_MAX_BACKUPS); default: {DEFAULT_MAX_BACKUPS}, or none beside another rule",
    )
    group.add_argument(
        "--keep-within",
        metavar="TIME",
        help="keep all that are at most this much older than the newest, such as 12h, 30d or 8w "
        "(FASTDUMP_KEEP_WITHIN)",
    )
    for rule, period in zip(PERIODS, ("hour", "day", "week", "month", "year"), strict=True):
        group.add_argument(
            f"--keep-{rule}",
            metavar="N",
            help=f"keep the newest of each of the last N {period}s (FASTDUMP_KEEP_{rule.upper()})",
        )


def add_layout(parser: argparse.ArgumentParser) -> None:
    """Add `--layout`, `--out` and `--compression`: the form and the place of a backup."""
    parser.add_argument(
        "--layout",
        metavar="|".join(LAYOUTS),
        help="form of the backup (FASTDUMP_LAYOUT). komodo: gzip files of BSON; komodo-json: JSON "
        "lines for Komodo's own restore; mongodump, archive: a folder or one file for "
        "mongorestore; repository: pieces that backups share (these three without --db: of all "
        "databases); default: komodo, or repository in an object store and where there is one",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="PATH",
        help="write to this path instead of a dated folder in the backups folder; an archive "
        "goes to a file, or with - to standard output (FASTDUMP_OUT)",
    )
    parser.add_argument(
        "--compression",
        metavar="METHOD[:LEVEL]",
        help="gzip, with level 0 to 3; zstd, with level 1 to 19, only for the layout repository; "
        "or none, only for mongodump, archive and repository (FASTDUMP_COMPRESSION); default: "
        "gzip:1",
    )
    for flag, method in (("--gzip", GZIP), ("--no-gzip", NONE)):
        parser.add_argument(
            flag,
            action="store_const",
            const=method,
            dest="compression",
            help=f"the same as --compression {method}",
        )


def add_rare(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add a group with these of the options that nearly nobody needs."""
    group = parser.add_argument_group("rarely needed options")
    for name in names:
        if name in LOAD_SWITCHES:
            group.add_argument(f"--{name}", action="store_true", help=LOAD_SWITCHES[name])
        else:
            metavar, about = _RARE[name]
            group.add_argument(f"--{name}", metavar=metavar, help=about)


_RARE = {
    "write-concern": (
        "W",
        "number of members that must confirm a write, or majority, or a name from the server's "
        "configuration (FASTDUMP_WRITE_CONCERN); default: that of the URI, else majority",
    ),
    "retry-for": (
        "SECONDS",
        "how long to try again if the server goes away (FASTDUMP_RETRY_FOR); default: 60",
    ),
    "max-rate": (
        "MB/S",
        "read at most this many megabytes a second (FASTDUMP_MAX_RATE); default: no limit",
    ),
    "latest-only": (
        "NAME[,NAME]",
        "keep only the newest copy of these collections, beside the dated folders "
        "(FASTDUMP_LATEST_ONLY); default: Stats",
    ),
    "level": ("N", "level of compression, if --compression has none (FASTDUMP_LEVEL); default: 1"),
    "mode": ("MODE", "permissions of the files that are written (FASTDUMP_MODE); default: 600"),
}

LOAD_SWITCHES = {
    "preserve-uuid": "give collections the UUIDs they had; needs --drop",
    "no-options-restore": "create collections without their options",
    "keep-index-version": "build indexes in the version they had",
    "bypass-document-validation": "write documents that a collection's validator refuses",
    "maintain-insertion-order": "load each collection's documents in their order, with one process",
    "stop-on-error": "end at the first document that cannot be written",
    "objcheck": "check each document before it is sent; count invalid ones as refused",
}


def add_users_and_roles(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add `--users-and-roles`."""
    parser.add_argument(
        "--users-and-roles",
        action="store_true",
        help=f"{verb} users and roles too: those of the database, or of all databases",
    )


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the options of `restore` and `copy` about writing to the target."""
    parser.add_argument(
        "--drop", action="store_true", help="first drop these collections from the target"
    )
    indexes = parser.add_mutually_exclusive_group()
    indexes.add_argument("-i", "--index", action="store_true", help="build indexes; the default")
    indexes.add_argument("--no-indexes", action="store_true", help="do not build indexes")


def load_options_of(settings: Settings, options: argparse.Namespace) -> LoadOptions:
    """Return the options of writing documents.

    Raises:
        UsageError: options contradict each other.
    """
    if options.preserve_uuid and not options.drop:
        raise UsageError("--preserve-uuid needs --drop: an existing collection keeps its UUID")
    replay = getattr(options, "oplog_replay", False)
    limit = settings.parsed("oplog-limit", cluster_time) if replay else None
    oplog_file = settings.text("oplog-file") if replay else None
    if not replay and getattr(options, "oplog_limit", None):
        raise UsageError("--oplog-limit needs --oplog-replay: add --oplog-replay")
    if not replay and getattr(options, "oplog_file", None):
        raise UsageError("--oplog-file needs --oplog-replay: add --oplog-replay")
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
    """Add `-j`, the number of processes."""
    parser.add_argument(
        "-j",
        "--workers",
        metavar="N",
        help="number of processes (FASTDUMP_WORKERS); default: the number of cores, at most 4",
    )


def add_yes(parser: argparse.ArgumentParser) -> None:
    """`-y`, no questions."""
    parser.add_argument("-y", "--yes", action="store_true", help="start without asking")


def add_everywhere(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    parser.add_argument(
        "--progress",
        metavar="|".join(MODES),
        help="how to show progress (FASTDUMP_PROGRESS); default: a bar on a terminal, log lines "
        "elsewhere",
    )
    log.add_log_format(parser)
    detail = parser.add_mutually_exclusive_group()
    detail.add_argument("-q", "--quiet", action="store_true", help="print only errors")
    detail.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help=f"show every collection, not only the {SHOWN} largest",
    )
    add_files(parser, default=argparse.SUPPRESS)


def add_files(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """Add `-c` and `-p`, which choose the configuration, before or after the command's name."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="PATH",
        action="append",
        default=default,
        help="configuration file, or a folder of them; can be repeated "
        "(KOMODO_CLI_CONFIG_PATHS); default: ~/.config/komodo and the current folder",
    )
    parser.add_argument(
        "-p",
        "--profile",
        metavar="NAME",
        default=default,
        help="name or alias of a profile in these files (KOMODO_CLI_DEFAULT_PROFILE)",
    )


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings from options, environment and files.

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
    """Tell the user once about options of connection strings that the driver ignores."""
    from fastdump.mongo.client import uri_notes

    for connection in connections:
        for note in uri_notes(connection):
            reporter.note(note)


def chosen_reporter(settings: Settings, options: argparse.Namespace) -> Reporter:
    """Return the reporter that the settings and `-q` or `-v` choose."""
    mode = settings.parsed("progress", one_of(MODES))
    if options.quiet:
        return Silent()
    if settings.log_format is not None and mode != "none":
        return Logged(log.LOGGER, shows_all=options.verbose)
    return reporter(mode, shows_all=options.verbose)
