"""Keep a journal of runs beside the backups, which `fastdump status` reads."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from fastdump.config import Settings
from fastdump.errors import FastdumpError, UsageError
from fastdump.model import Location, Run, is_url

__all__ = ["Outcome", "recorded"]

_INTERRUPTED = 130


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
    """Add what happens inside the context to the journal of a place.

    Wrong options are no run. A journal that cannot be written is only said.

    Args:
        command: the name of the command.
        folder: the place of the backups; None if the command does not work on one.
        settings: those of the command.
        quiet: True to print nothing.
    """
    clock, mode = time.monotonic(), settings.mode
    outcome = Outcome(Run(command, datetime.now(UTC), 0, 0, host=os.uname().nodename))

    def keep() -> None:
        _keep(replace(outcome.run, seconds=time.monotonic() - clock), folder, mode, quiet=quiet)

    try:
        yield outcome
    except UsageError:
        raise
    except FastdumpError as error:
        outcome.failed(error.exit_code, str(error))
        keep()
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        code = error.code if isinstance(error, SystemExit) else _INTERRUPTED
        outcome.failed(code if isinstance(code, int) else 1, "it was interrupted")
        if folder is not None and not is_url(folder):  # which could take a minute
            keep()
        raise
    keep()


def _keep(run: Run, folder: Location | None, mode: int, *, quiet: bool) -> None:
    from fastdump.places import journal

    if folder is None or not (is_url(folder) or Path(folder).is_dir()):
        return
    try:
        journal(folder, mode).add(run)
    except FastdumpError as error:
        if not quiet:
            print(
                f"note: {error}: this run is not in the journal that fastdump status reads",
                file=sys.stderr,
            )
