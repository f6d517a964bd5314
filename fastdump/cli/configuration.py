"""Show all settings and where each comes from.

Passwords are hidden. Add options of other commands to see their effect.
"""

from __future__ import annotations

import argparse

from fastdump.cli.options import (
    add_folder,
    add_layout,
    add_rare,
    add_retention,
    add_security,
    add_server,
    add_workers,
)
from fastdump.cli.output import table
from fastdump.config import SOURCE, TARGET, Settings

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = "fastdump config --uri mongodb://localhost:27017 -f /backups"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `config`: those options of the other commands that are settings."""
    add_server(parser, SOURCE)
    add_server(parser, TARGET)
    add_folder(parser)
    add_retention(parser)
    add_layout(parser)
    add_workers(parser)
    add_rare(parser, "latest-only", "level", "mode")
    add_security(parser, SOURCE)
    add_security(parser, TARGET)


def run(settings: Settings, options: argparse.Namespace) -> int:  # noqa: ARG001
    """Run the command, and return the exit code."""
    table(("setting", "value", "from"), settings.shown(), right=())
    return 0
