"""Check that a backup is complete and undamaged.

The newest backup of the backups folder is read from end to end and compared
with the checksums in its manifest. No server is needed. With --against, the
backup is compared with a live database instead, which is only read.
"""

from __future__ import annotations

import argparse

from fastdump.cli import log
from fastdump.cli.asking import asked_connection
from fastdump.cli.keys import add_identity, reading_keys_of
from fastdump.cli.options import (
    add_folder,
    add_security,
    add_server,
    add_workers,
    chosen_reporter,
    say_of_uri,
)
from fastdump.cli.output import comparisons, notes, size, summary
from fastdump.cli.recording import add_watchers, recorded
from fastdump.cli.restore import add_which, chosen_backup
from fastdump.config import SOURCE, Settings, percentage
from fastdump.errors import BackupDamagedError, IncompleteError, UsageError
from fastdump.report import VerifyReport

__all__ = ["EXAMPLES", "add_options", "run"]

EXAMPLES = """\
fastdump verify -f /backups
fastdump verify -f /backups --against --deep --uri mongodb://localhost:27017"""


_ALL = "100%"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify`."""
    add_folder(parser)
    add_identity(parser)
    add_which(parser)
    add_workers(parser)
    parser.add_argument(
        "--against",
        action="store_true",
        help="compare the number of documents with a live database instead",
    )
    parser.add_argument(
        "--deep", action="store_true", help="with --against: compare every document"
    )
    parser.add_argument(
        "--unique",
        action="store_true",
        help="also check that no two documents of a collection have the same _id; needs 16 bytes "
        "a document in the folder for temporary files (TMPDIR)",
    )
    parser.add_argument(
        "--sample",
        metavar="PERCENT",
        default=_ALL,
        help="read only this part of the documents, such as 5%%, another one each time; the sizes "
        "of all files are checked all the same",
    )
    add_watchers(parser)
    add_server(parser, SOURCE)
    add_security(parser, SOURCE)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from fastdump.engine.verify.run import verify
    from fastdump.places import source

    which = chosen_backup(options)
    if options.against and options.unique:
        raise UsageError("--unique cannot be combined with --against: leave one out")
    if options.against and options.sample != _ALL:
        raise UsageError("--sample cannot be combined with --against: leave one out")
    if options.against:
        return _compare(settings, options, which)
    share = _share(options.sample)
    if options.deep:
        raise UsageError("--deep needs --against: add --against")
    folder = None if options.path else settings.folder
    with recorded("verify", folder, settings, quiet=options.quiet) as outcome:
        report = verify(
            source(settings.folder, which, reading_keys_of(settings)),
            which,
            workers=settings.workers,
            unique=options.unique,
            share=share,
            reporter=chosen_reporter(settings, options),
        )
        outcome.of(report, share=share)
        _show(report, quiet=options.quiet, shows_all=options.verbose)
        if not report.intact:
            problems = len(report.problems)
            raise BackupDamagedError(f"backup {report.name} is damaged: {problems} problems")
    return 0


def _compare(settings: Settings, options: argparse.Namespace, which: str | None) -> int:
    from fastdump.engine.verify.comparison import compare
    from fastdump.places import source

    connection = asked_connection(settings, SOURCE)
    reporter = chosen_reporter(settings, options)
    say_of_uri(reporter, connection)
    report = compare(
        connection,
        settings.named_database(SOURCE),
        source(settings.folder, which, reading_keys_of(settings)),
        which,
        deep=options.deep,
        workers=settings.workers,
        reporter=reporter,
    )
    if not options.quiet:
        comparisons(report, shows_all=options.verbose)
    if not report.equal:
        differing = [str(found.namespace) for found in report.collections if not found.equal]
        raise IncompleteError(
            f"backup {report.name} and the database differ: {', '.join(differing)}"
        )
    if not options.quiet:
        same = "documents" if report.deep else "numbers of documents"
        print(f"\nbackup {report.name} and the database have the same {same}")
    return 0


def _share(text: str) -> float:
    try:
        return percentage(text)
    except ValueError as error:
        raise UsageError(f"--sample is {text!r}, but must be {error}") from None


def _part(report: VerifyReport) -> str:
    """Return what was read, in words."""
    if report.share == 1:
        return f"backup {report.name}"
    documents = f"{report.documents:,} documents, {size(report.raw_bytes)}"
    return f"the part of backup {report.name} that was read ({documents})"


def _show(report: VerifyReport, *, quiet: bool, shows_all: bool) -> None:
    if not quiet:
        summary(report.collections, report.seconds, shows_all=shows_all)
        notes(report.notes)
    for problem in report.problems:
        log.error(f"{problem.path}: {problem.message}")
    if report.intact and not quiet:
        print(f"\n{_part(report)} is intact")
