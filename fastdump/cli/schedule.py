"""Print what runs a command every day: units of systemd, cron, Kubernetes, Komodo.

Give the command as you would type it, after the kind. Nothing is written; the
comments in the output say where each part belongs. Addresses with secrets are
replaced by environment variables, for which the output has a place.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence

from fastdump.cli.units import KINDS, Job
from fastdump.config import SOURCE, TARGET, Settings, checked_word
from fastdump.config.names import OPTIONS, Name
from fastdump.errors import UsageError

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump schedule systemd backup --uri mongodb://localhost --db komodo -f /backups
fastdump schedule --at 05:30 --on sun cron drill -f /backups"""

_RUNS = ("backup", "verify", "drill", "prune", "restore", "copy", "convert")
_ASK = ("prune", "drill", "restore", "copy")
"""Commands that ask before they begin, and cannot where there is no terminal."""

_DAYS = ("day", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _variables(*names: Name) -> dict[str, str]:
    return {f"--{name.flag}": name.variables[0] for name in names}


_WITH_PASSWORD = _variables(SOURCE.name("uri"), TARGET.name("uri"), OPTIONS["metrics"][0])
"""Options that go into a variable if they hold a password."""

_SECRETS = _variables(OPTIONS["notify"][0], OPTIONS["heartbeat"][0])
"""Options that always go into a variable."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `schedule`."""
    _add_own(parser)
    parser.add_argument("kind", metavar="|".join(KINDS), help="what the output is for")
    parser.add_argument(
        "job",
        metavar="COMMAND",
        nargs=argparse.REMAINDER,
        help=f"what to run: {', '.join(_RUNS)}, with its options",
    )


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--at", metavar="HH:MM", default="03:00", help="time of the day; default: 03:00"
    )
    parser.add_argument(
        "--on",
        metavar="|".join(_DAYS),
        default=_DAYS[0],
        help="day of the week; default: day, which means every day",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="name of the unit; default: fastdump-COMMAND"
    )
    parser.add_argument(
        "--image",
        metavar="IMAGE",
        default="fastdump",
        help="container image, for kubernetes and komodo; default: fastdump",
    )


def run(_settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    if options.kind not in KINDS:
        raise UsageError(f"it is for {options.kind!r}, but must be for one of {', '.join(KINDS)}")
    words = _own_taken(options.job, options)
    print(KINDS[options.kind](_job(words, options)), end="")
    return 0


def _own_taken(words: Sequence[str], options: argparse.Namespace) -> list[str]:
    """Read the own options that stand after the kind, and return the command's words."""
    parser = argparse.ArgumentParser(prog="fastdump schedule", add_help=False)
    _add_own(parser)
    parser.add_argument("command")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    given = argparse.Namespace(**{**vars(options), "command": None})
    if words:
        parser.parse_args(words, given)
    if given.command not in _RUNS:
        raise UsageError(f"there is no command to run: give one of {', '.join(_RUNS)} at the end")
    vars(options).update({name: getattr(given, name) for name in ("at", "on", "name", "image")})
    return [given.command, *given.rest]


def _job(words: list[str], options: argparse.Namespace) -> Job:
    from fastdump.cli import parsed

    checked = parsed(words)
    time = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", options.at)
    if time is None:
        raise UsageError(f"--at is {options.at!r}, but must be a time of the day such as 03:00")
    checked_word("--on", options.on, _DAYS)
    name = options.name or f"fastdump-{words[0]}"
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", name):
        raise UsageError(f"--name is {name!r}, but must be small letters, digits and dashes")
    secrets: dict[str, None] = {}
    kept = list(_without_secrets(words, secrets))
    if words[0] in _ASK and not checked.yes:
        kept.insert(1, "-y")
    return Job(
        name=name,
        words=tuple(kept),
        secrets=tuple(secrets),
        hour=int(time[1]),
        minute=int(time[2]),
        day=None if options.on == _DAYS[0] else options.on,
        image=options.image,
        folder=getattr(checked, "folder", None),
    )


def _without_secrets(words: Sequence[str], secrets: dict[str, None]) -> Iterator[str]:
    """Yield the words without addresses that hold secrets; add the variables for those."""
    rest = iter(words)
    for word in rest:
        flag, is_joined, value = word.partition("=")
        if flag not in _SECRETS and flag not in _WITH_PASSWORD:
            yield word
            continue
        value = value if is_joined else next(rest)
        if flag in _WITH_PASSWORD and "@" not in value:
            yield from (flag, value)
        else:
            secrets[_SECRETS.get(flag) or _WITH_PASSWORD[flag]] = None
