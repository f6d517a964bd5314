"""The command line: it turns options into calls of the engine, and reports into tables.

Each command has a file with `add_options` and `run`. Only this package parses arguments. Large
modules are imported only when a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from textwrap import indent
from typing import NoReturn, Protocol

from fastdump.cli import (
    backup,
    completion,
    configuration,
    convert,
    copy,
    demo,
    drill,
    listing,
    log,
    prune,
    rekey,
    restore,
    schedule,
    status,
    unlock,
    verify,
)
from fastdump.cli.encoding import escape_output, insist_on_utf8
from fastdump.cli.options import add_everywhere, add_files, settings_of
from fastdump.config import Settings
from fastdump.errors import FastdumpError
from fastdump.signals import end_by
from fastdump.version import __version__

__all__ = ["entry_point", "main", "parsed", "parser"]

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class _Command(Protocol):
    """Interface of a command's module, whose docstring is the help."""

    __doc__: str | None
    EXAMPLES: str
    """Complete command lines, shown below the options."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's options to its parser."""

    def run(self, settings: Settings, options: argparse.Namespace) -> int:
        """Run the command, and return the exit code."""


_COMMANDS: dict[str, tuple[_Command, list[str]]] = {
    "backup": (backup, ["bkp"]),
    "restore": (restore, ["rst"]),
    "copy": (copy, ["cp"]),
    "convert": (convert, []),
    "list": (listing, ["ls"]),
    "verify": (verify, []),
    "drill": (drill, []),
    "status": (status, []),
    "prune": (prune, []),
    "rekey": (rekey, []),
    "schedule": (schedule, []),
    "unlock": (unlock, []),
    "config": (configuration, []),
    "completion": (completion, []),
    "demo": (demo, []),
}

_OF_A_SOURCE = {"--uri", "--address", "--username", "--password-file", "--db"}
"""Options that a user of mongorestore gives to a restore."""

_MAY_HOLD_PASSWORD = ("uri", "address", "target_uri", "target_address", "metrics")
"""Options whose values are addresses."""

_ANSWER = ("list", "status", "schedule", "completion", "unlock", "rekey", "config", "demo")
"""Commands whose purpose is what they print."""

_USAGE = {
    **dict.fromkeys(("restore", "verify", "drill", "convert"), " [PATH]"),
    "schedule": " KIND COMMAND [OPTION]...",
}
"""Words behind the name of a command and its options, in its usage."""


def entry_point() -> NoReturn:
    """Run a command, and end the process with its exit code; this is the console script.

    The process ends without the interpreter's exit handlers. There the driver would wait for its
    threads, which takes half of the time of a small backup. Everything is closed by then.
    """
    insist_on_utf8()
    escape_output()
    try:
        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 1
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        sys.stdout.flush()
    if started := sys.modules.get("fastdump.engine.executors.forkserver"):
        started.cool_down()
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return the exit code.

    0 everything is done; 1 something was not written or not read; 2 wrong options; 3 the server or
    the object store cannot be reached or refuses; 4 no such backup, or a damaged one; 130
    interrupted; 143 terminated.
    """
    options = parsed(arguments)
    _handle_signals()
    log.start(None)
    try:
        _hide_password(options)
        return _run(settings_of(options), options)
    except FastdumpError as error:
        log.error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        log.error("interrupted")
        return EXIT_INTERRUPTED


def _run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command; with a log, without the tables that it prints about what it did."""
    command, _aliases = _COMMANDS[options.command]
    form = settings.log_format
    log.start(form, quiet=options.quiet)
    if form is None or options.command in _ANSWER:
        return command.run(settings, options)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return command.run(settings, options)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; end with exit code 2 and a hint if an option does not exist."""
    top = parser()
    options, unknown = top.parse_known_args(arguments)
    if unknown:
        top.exit(2, f"fastdump: {_about_unknown(options.command, unknown)}\n")
    return options


def _about_unknown(command: str, words: Sequence[str]) -> str:
    """Return a message without the values of unknown options, which may hold a password."""
    flags = [word.split("=")[0] for word in words if word.startswith("-")]
    message = f"unknown option {', '.join(flags)}" if flags else "too many arguments"
    if command == "restore" and _OF_A_SOURCE.intersection(flags):
        return f"{message}: options for the server to restore into begin with --target-"
    return f"{message}: 'fastdump {command} --help' lists the options"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="fastdump",
        description="Back up and restore MongoDB databases with many processes at once.",
        epilog="""\
'fastdump COMMAND --help' shows the options of a command and an example.
Names in round brackets, there and above, are environment variables.

example:
  fastdump backup --uri mongodb://localhost:27017 --db komodo -f /backups""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"fastdump {__version__}")
    add_files(top, default=None)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (command, aliases) in _COMMANDS.items():
        summary = (command.__doc__ or "").splitlines()[0]
        one = commands.add_parser(
            name,
            aliases=aliases,
            help=summary,
            usage=f"fastdump {name} [OPTION]..." + _USAGE.get(name, ""),
            description=command.__doc__,
            epilog=f"examples:\n{indent(command.EXAMPLES, '  ')}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_options(one)
        add_everywhere(one)
        one.set_defaults(command=name)
    return top


def _handle_signals() -> None:
    """Let Ctrl-C and SIGTERM clean up unfinished work; a second one ends the command at once."""
    end_by(signal.SIGINT, KeyboardInterrupt, lambda *_: os._exit(EXIT_INTERRUPTED))
    end_by(
        signal.SIGTERM,
        lambda: SystemExit(EXIT_TERMINATED),
        lambda *_: os._exit(EXIT_TERMINATED),
    )


def _hide_password(options: argparse.Namespace) -> None:
    """Hide secrets in addresses on the command line from the list of processes."""
    typed = [getattr(options, name, None) or "" for name in _MAY_HOLD_PASSWORD]
    always = getattr(options, "notify", None) or getattr(options, "heartbeat", None)
    if always or any("@" in text for text in typed):
        from setproctitle import setproctitle

        setproctitle(f"fastdump {options.command}")
