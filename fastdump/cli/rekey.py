"""Encrypt a repository for other keys or another passphrase.

Everything new is encrypted for them from now on. With an identity or a
passphrase that opens the repository, what is there already is encrypted for
them too. A run that was interrupted is continued by the same command.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from fastdump.cli import log
from fastdump.cli.asking import confirm
from fastdump.cli.keys import add_encryption, add_identity, keys_of, reading_keys_of
from fastdump.cli.options import add_folder, add_yes, chosen_reporter
from fastdump.cli.output import size
from fastdump.config import Settings
from fastdump.errors import IncompleteError, UsageError
from fastdump.report import RekeyReport

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = "fastdump rekey -f s3://bucket/prefix --identity old.txt --encrypt-to age1…"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `rekey`."""
    add_folder(parser)
    add_encryption(parser)
    parser.add_argument(
        "--new-passphrase-file",
        metavar="FILE",
        help="read the new passphrase from this file, with --encrypt-to passphrase "
        "(FASTDUMP_NEW_PASSPHRASE_FILE); default: FASTDUMP_NEW_PASSPHRASE, else a question on the "
        "terminal",
    )
    add_identity(parser)
    add_yes(parser)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.places import repository

    given = keys_of(settings)
    if not given.recipients:
        raise UsageError("say for whom to encrypt: give --encrypt-to")
    place = repository(settings.folder, reading_keys_of(settings))
    shown = ", ".join(given.recipients)
    confirm(f"Encrypt {settings.folder} for {shown}, and for nobody else?", yes=options.yes)
    new = replace(given, passphrase=settings.text("new-passphrase-file"))
    report = place.rekey(new, chosen_reporter(settings, options))
    _show(report, quiet=options.quiet)
    return 0


def _show(report: RekeyReport, *, quiet: bool) -> None:
    for failure in report.failures[:5]:
        log.error(failure)
    if report.failures:
        raise IncompleteError(
            f"{report.left:,} backups are still encrypted for the former keys: name those with "
            "--identity, and run the command again"
        )
    if quiet:
        return
    print(f"new backups are encrypted for {', '.join(report.recipients)}")
    if report.left:
        print(
            f"{report.left:,} older backups need the former keys; to encrypt them too, run the "
            "command again with --identity"
        )
    else:
        print(f"{report.backups:,} older backups ({size(report.file_bytes)}) are so too")
