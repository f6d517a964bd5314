"""Turn the report of `status` into a page."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fastdump.cli.output import age, size
from fastdump.cli.page.charts import HEIGHT, LEFT, WIDTH, Chart, Point, bars, sparkline
from fastdump.model import Backup, Location, Run
from fastdump.report import StatusReport
from fastdump.storage.disk_errors import disk
from fastdump.version import __version__

__all__ = ["page", "write_page"]

_SHOWN = 30
"""Number of backups, collections and failures in the tables."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A backup with what the journal knows of it."""

    backup: Backup
    made: Run | None
    verified: Run | None
    drilled: Run | None


@dataclass(frozen=True, slots=True)
class _Grown:
    name: str
    documents: int | None
    raw_bytes: int | None
    line: str


def page(report: StatusReport, folder: Location, now: datetime) -> str:
    """Return the page.

    Args:
        report: how things are.
        folder: the place of the backups.
        now: the present time, in UTC.
    """
    environment = Environment(
        loader=PackageLoader("fastdump.cli", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "age": age, "number": "{:,}".format, "time": _time}
    return environment.get_template("status.html").render(
        report=report,
        folder=folder,
        now=now,
        version=__version__,
        charts=list(_charts(report)),
        left=LEFT,
        width=WIDTH,
        height=HEIGHT,
        kept=[_known(one, report.runs) for one in reversed(report.backups[-_SHOWN:])],
        grown=list(_grown(report)),
        failures=list(reversed(report.failures[-_SHOWN:])),
    )


def write_page(path: Path, text: str) -> None:
    """Write the page; whoever opens it meanwhile finds the former one or this one.

    Raises:
        StorageError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    with disk(path):
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)  # noqa: PTH105 - the name exists for readers at any time


def _charts(report: StatusReport) -> Iterator[Chart]:
    sizes = [
        Point(one.made, one.file_bytes, f"{one.name}: {size(one.file_bytes)}")
        for one in report.backups
    ]
    counts = [
        Point(one.made, one.documents, f"{one.name}: {one.documents:,} documents")
        for one in report.backups
        if one.documents is not None
    ]
    runs = [one for one in report.runs if one.command == "backup"]
    durations = [
        Point(one.started, one.seconds, f"{_time(one.started)}: {_duration(one)}", bad=not one.ok)
        for one in runs
    ]
    if sizes:
        yield bars("Size of each backup", sizes, lambda value: size(round(value)))
    if counts:
        yield bars("Documents of each backup", counts, lambda value: f"{value:,.0f}")
    if durations:
        yield bars("Duration of each run of backup", durations, lambda value: f"{value:,g} s")


def _known(backup: Backup, runs: Sequence[Run]) -> _Kept:
    last = {one.command: one for one in runs if one.ok and one.backup == backup.name}
    return _Kept(backup, last.get("backup"), last.get("verify"), last.get("drill"))


def _grown(report: StatusReport) -> Iterator[_Grown]:
    """Yield the largest collections of the newest backup, with their size in each backup."""
    history = defaultdict[object, list[int]](list)
    for backup in report.backups:
        for kept in backup.collections:
            history[kept.namespace].append(kept.contents.raw_bytes or 0)
    for one in report.growth[:_SHOWN]:
        line = sparkline(history[one.namespace])
        yield _Grown(str(one.namespace), one.documents, one.raw_bytes, line)


def _duration(run: Run) -> str:
    return f"{run.seconds:,.1f} s" if run.ok else f"failed after {run.seconds:,.1f} s"


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
