"""Print a script that completes commands and options in your shell.

For bash and fish it is read from these files by itself; in zsh, the folder must
be in fpath.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from fastdump.config import Settings
from fastdump.errors import UsageError

__all__ = ["EXAMPLES", "add_options", "manual", "run", "script"]

EXAMPLES = """\
fastdump completion bash > ~/.local/share/bash-completion/completions/fastdump
fastdump completion zsh > ~/.zfunc/_fastdump
fastdump completion fish > ~/.config/fish/completions/fastdump.fish"""

_SHELLS = ("bash", "zsh", "fish")
_PATHS = ("FILE", "PATH", "FOLDER", "FILE|URL", "RECIPIENT|FILE")
"""Words that stand for a path in the help."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `completion`."""
    parser.add_argument("shell", metavar="|".join(_SHELLS), help="your shell")


def run(_settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    if options.shell not in _SHELLS:
        raise UsageError(
            f"it is for {options.shell!r}, but must be for one of {', '.join(_SHELLS)}"
        )
    print(script(options.shell))
    return 0


def script(shell: str) -> str:
    """Return the script for bash, zsh or fish."""
    import shtab

    from fastdump.cli import parser

    top = parser()
    for action in _actions(top):
        _describe(action)
    text: str = shtab.complete(top, shell=shell)
    return text


def manual() -> str:
    """Return the manual page of all commands, for troff."""
    from argparse_manpage.manpage import Manpage  # type: ignore[import-untyped]

    from fastdump.cli import parser

    page = Manpage(parser())
    page.manual, page.date = "fastdump", ""
    return str(page)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _actions(one)
        else:
            yield action


def _describe(action: argparse.Action) -> None:
    """Tell which words an option takes, which its help says by `a|b`, and which take a path."""
    import shtab

    name = action.metavar if isinstance(action.metavar, str) else ""
    words = name.split("|")
    if name in _PATHS:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif len(words) > 1 and name == name.lower():
        action.choices = words
