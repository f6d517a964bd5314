"""Show progress: as a bar on a terminal, as log lines elsewhere, as JSON lines, or not at all.

Progress goes to standard error, so that standard output contains only results.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Never, Protocol, TextIO

from fastdump.report import CollectionReport

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = [
    "MODES",
    "SHOWN",
    "Bar",
    "JsonLines",
    "LogLines",
    "Logged",
    "Reporter",
    "Silent",
    "reporter",
]

MODES = ("auto", "bar", "json", "none")

SHOWN = 20
"""Number of collections that are shown one by one: the largest, which are read first."""

_LOG_SECONDS = 10


class Reporter(Protocol):
    """Receiver of progress and notes while a command runs."""

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Begin a task, with estimates of its documents and of their size in bytes of BSON."""

    def update(self, documents: int, raw_bytes: int) -> None:
        """Report the documents and bytes that are done since the start."""

    def finished(self, collection: CollectionReport) -> None:
        """Report a finished collection."""

    def note(self, message: str) -> None:
        """Report something that the user should know."""

    def stop(self) -> None:
        """End the task, after success or failure."""


class Silent:
    """Reporter that prints nothing."""

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Print nothing."""

    def update(self, documents: int, raw_bytes: int) -> None:
        """Print nothing."""

    def finished(self, collection: CollectionReport) -> None:
        """Print nothing."""

    def note(self, message: str) -> None:
        """Print nothing."""

    def stop(self) -> None:
        """Print nothing."""


class Bar:
    """Reporter with a progress bar, and lines for the first collections that are finished.

    Args:
        stream: the terminal.
        shows_all: True for a line for every collection.
    """

    def __init__(self, stream: TextIO, *, shows_all: bool = False) -> None:
        self._stream = stream
        self._left = math.inf if shows_all else SHOWN
        self._bar: tqdm[Never] | None = None

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Draw an empty bar."""
        from tqdm import tqdm

        self._bar = tqdm(
            desc=task,
            total=raw_bytes or None,
            unit="B",
            unit_scale=True,
            file=self._stream,
            dynamic_ncols=True,
            leave=False,
        )
        self.update(0, 0)

    def update(self, documents: int, raw_bytes: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{documents:,} documents", refresh=False)
            self._bar.update(raw_bytes - self._bar.n)

    def finished(self, collection: CollectionReport) -> None:
        """Print a line above the bar, unless there were many."""
        self._left -= 1
        if self._left >= 0:
            self.note(_line(collection))

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        from tqdm import tqdm

        tqdm.write(message, file=self._stream)

    def stop(self) -> None:
        """Remove the bar from the screen."""
        if self._bar is not None:
            self._bar.close()


class _Lines:
    """Reporter of lines: one every 10 s, and some of finished collections.

    Args:
        say: prints a line.
        shows_all: True for a line for every collection, otherwise for the first.
    """

    def __init__(self, say: Callable[[str], None], *, shows_all: bool) -> None:
        self._say = say
        self._left = math.inf if shows_all else SHOWN
        self._task = ""
        self._totals = (0, 0)
        self._spoken = time.monotonic()

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Print the task and its size."""
        self._task, self._totals = task, (documents, raw_bytes)
        self._tell(f"{task}: about {documents:,} documents, {raw_bytes / 1e6:,.1f} MB")

    def update(self, documents: int, raw_bytes: int) -> None:
        """Print the progress, if the last line is more than 10 s old."""
        if time.monotonic() - self._spoken > _LOG_SECONDS:
            share = 100 * raw_bytes / max(self._totals[1], raw_bytes, 1)
            self._tell(
                f"{self._task}: {documents:,} documents, {raw_bytes / 1e6:,.1f} MB ({share:.0f} %)"
            )

    def finished(self, collection: CollectionReport) -> None:
        """Print the collection's line, unless there were many."""
        self._left -= 1
        if self._left >= 0:
            self._tell(_line(collection))

    def stop(self) -> None:
        """Do nothing."""

    def _tell(self, message: str) -> None:
        self._spoken = time.monotonic()
        self._say(message)


class LogLines(_Lines):
    """Reporter that prints lines with the time.

    Args:
        stream: the place to print to.
        shows_all: True for a line for every collection, otherwise for the first.
    """

    def __init__(self, stream: TextIO, *, shows_all: bool = False) -> None:
        super().__init__(self.note, shows_all=shows_all)
        self._stream = stream

    def note(self, message: str) -> None:
        """Print a line."""
        print(f"{time.strftime('%H:%M:%S')} {message}", file=self._stream, flush=True)


class Logged(_Lines):
    """Reporter that logs progress as information and notes as warnings.

    Args:
        logger: the place to log to.
        shows_all: True for a line for every collection, otherwise for the first.
    """

    def __init__(self, logger: logging.Logger, *, shows_all: bool = False) -> None:
        super().__init__(partial(logger.info, "%s"), shows_all=shows_all)
        self._logger = logger

    def note(self, message: str) -> None:
        """Log a warning."""
        self._logger.warning("%s", message)


class JsonLines:
    """Reporter that prints one JSON object per line, each with an `event`, for other programs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Print the event `start`."""
        self._emit("start", task=task, documents=documents, raw_bytes=raw_bytes)

    def update(self, documents: int, raw_bytes: int) -> None:
        """Print the event `progress`."""
        self._emit("progress", documents=documents, raw_bytes=raw_bytes)

    def finished(self, collection: CollectionReport) -> None:
        """Print the event `collection`."""
        self._emit(
            "collection",
            name=collection.name,
            documents=collection.documents,
            raw_bytes=collection.raw_bytes,
            file_bytes=collection.file_bytes,
            seconds=round(collection.seconds, 3),
        )

    def note(self, message: str) -> None:
        """Print the event `note`."""
        self._emit("note", message=message)

    def stop(self) -> None:
        """Print the event `stop`."""
        self._emit("stop")

    def _emit(self, event: str, **fields: object) -> None:
        print(json.dumps({"event": event, **fields}), file=self._stream, flush=True)


def reporter(mode: str, stream: TextIO = sys.stderr, *, shows_all: bool = False) -> Reporter:
    """Return the reporter for a mode; `auto` is a bar on a terminal and log lines elsewhere.

    Args:
        mode: one of `MODES`.
        stream: the place to print to.
        shows_all: True for a line for every collection, otherwise for some.
    """
    if mode == "none":
        return Silent()
    if mode == "json":
        return JsonLines(stream)
    if mode == "bar" or stream.isatty():
        return Bar(stream, shows_all=shows_all)
    return LogLines(stream, shows_all=shows_all)


def _line(collection: CollectionReport) -> str:
    return (
        f"{_one_line(collection.name)}: {collection.documents:,} documents, "
        f"{collection.raw_bytes / 1e6:,.1f} MB"
    )


def _one_line(name: str) -> str:
    return name if name.isprintable() else repr(name)
