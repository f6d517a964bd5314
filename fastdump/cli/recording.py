"""Record runs in the journal beside the backups, and tell those who watch them."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fastdump.cli import log
from fastdump.config import NOTIFY_ON, Settings
from fastdump.errors import FastdumpError, UsageError
from fastdump.model import Location, Run, Watchers, is_url

if TYPE_CHECKING:
    from fastdump.runs.journal import Journal

__all__ = ["Outcome", "add_watchers", "recorded"]

_INTERRUPTED = 130

_FACTS = ("command", "backup", "seconds", "documents", "raw_bytes", "file_bytes", "exit_code")
"""Fields of a run in the line of JSON at its end, under the names of the journal."""


class Totals(Protocol):
    """A report with the numbers of what was done."""

    @property
    def name(self) -> str:
        """Name of the backup."""

    @property
    def documents(self) -> int:
        """Number of documents."""

    @property
    def raw_bytes(self) -> int:
        """Size of the documents in bytes of BSON."""

    @property
    def file_bytes(self) -> int:
        """Size of the files in bytes."""


@dataclass(slots=True)
class Outcome:
    """Record of a run that goes on."""

    run: Run

    def of(self, report: Totals, *, share: float = 1, exit_code: int = 0) -> None:
        """Take over the numbers of a report."""
        self.run = replace(
            self.run,
            backup=report.name,
            documents=report.documents,
            raw_bytes=report.raw_bytes,
            file_bytes=report.file_bytes,
            share=share,
            exit_code=exit_code,
        )

    def failed(self, exit_code: int, message: str) -> None:
        """Take over a failure."""
        self.run = replace(self.run, exit_code=exit_code, message=message)


@contextmanager
def recorded(
    command: str, folder: Location | None, settings: Settings, *, quiet: bool
) -> Iterator[Outcome]:
    """Add what happens inside the context to the journal of a place, and tell who watches.

    Wrong options are no run for the journal, but those who watch are told. A journal that cannot be
    written, or somebody who cannot be told, is only said.

    Args:
        command: the name of the command.
        folder: the place of the backups; None if the command does not work on one.
        settings: those of the command.
        quiet: True to print nothing.
    """
    record = _Record(command, folder, settings, quiet=quiet)
    try:
        yield record
    except UsageError as error:
        record.failed(error.exit_code, str(error))
        record.keep(in_journal=False)
        raise
    except FastdumpError as error:
        record.failed(error.exit_code, str(error))
        record.keep()
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        code = error.code if isinstance(error, SystemExit) else _INTERRUPTED
        record.failed(code if isinstance(code, int) else 1, "it was interrupted")
        # An object store could take a minute.
        record.keep(in_journal=folder is not None and not is_url(folder))
        raise
    record.keep()


class _Record(Outcome):
    def __init__(
        self, command: str, folder: Location | None, settings: Settings, *, quiet: bool
    ) -> None:
        super().__init__(Run(command, datetime.now(UTC), 0, 0, host=os.uname().nodename))
        self._folder, self._mode = folder, settings.mode
        self._watchers = settings.watchers
        self._quiet = quiet
        log.event(f"{command} begins", command=command)
        if self._watchers != Watchers():
            from fastdump.runs.watchers import began

            self._note(began(self._watchers))
        self._clock = time.monotonic()

    def keep(self, *, in_journal: bool = True) -> None:
        """Write the run to the journal, and tell who watches."""
        self.run = replace(self.run, seconds=time.monotonic() - self._clock)
        self._log_end()
        recovered = in_journal and self._add_to_journal()
        if self._watchers != Watchers():
            from fastdump.runs.watchers import ended

            folder = "" if self._folder is None else f"{self._folder}"
            lines = "" if self.run.ok else log.last_lines()
            self._note(ended(self._watchers, self.run, folder, recovered=recovered, lines=lines))

    def _log_end(self) -> None:
        run = self.run
        of_backup = "" if run.backup is None else f": backup {run.backup}"
        documents = "" if run.documents is None else f", {run.documents:,} documents"
        log.event(
            f"{run.command} {'is done' if run.ok else 'failed'} after {run.seconds:,.1f} s"
            f"{of_backup}{documents}",
            **{name: getattr(run, name) for name in _FACTS},
        )

    def _add_to_journal(self) -> bool:
        """Add the run, and return True if it makes up for a failure and somebody is told of it."""
        from fastdump.places import journal

        if self._folder is None or not (is_url(self._folder) or Path(self._folder).is_dir()):
            return False
        recovered = False
        try:
            kept = journal(self._folder, self._mode)
            if self.run.ok and self._watchers.notify:
                recovered = _failed_last(kept, self.run.command)
            kept.add(self.run)
        except FastdumpError as error:
            self._note([f"{error}: this run is not in the journal that fastdump status reads"])
        return recovered

    def _note(self, messages: Iterable[str]) -> None:
        for message in messages:
            if not self._quiet:
                log.note(message)


def _failed_last(journal: Journal, command: str) -> bool:
    """Return True if the last run of a command failed; a journal that fails is said elsewhere."""
    try:
        earlier = [one for one in journal.runs() if one.command == command]
    except FastdumpError:
        return False
    return bool(earlier) and not earlier[-1].ok


def add_watchers(parser: argparse.ArgumentParser) -> None:
    """Add the options that name who is told about a run."""
    group = parser.add_argument_group(
        "who is told", "None of them changes how the command ends; what cannot be told is a note."
    )
    group.add_argument(
        "--metrics",
        metavar="FILE|URL",
        help="write metrics for Prometheus to this file, which node_exporter reads, or push them "
        "to the Pushgateway at this address (FASTDUMP_METRICS)",
    )
    group.add_argument(
        "--heartbeat",
        metavar="URL",
        help="ping this address, with /start at the start, and with /fail after a failure, as "
        "healthchecks.io understands it (FASTDUMP_HEARTBEAT, FASTDUMP_HEARTBEAT_FILE)",
    )
    group.add_argument(
        "--notify",
        metavar="URL",
        action="append",
        help="send a message by this service, as mailto://, slack:// or another address of the "
        "program apprise; can be repeated; better set FASTDUMP_NOTIFY, or FASTDUMP_NOTIFY_FILE "
        "with the name of a file, since addresses hold secrets",
    )
    group.add_argument(
        "--notify-on",
        metavar="|".join(NOTIFY_ON),
        help="send it after a failure and after the first success that follows, or always "
        "(FASTDUMP_NOTIFY_ON); default: failure",
    )
