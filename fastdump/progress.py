"""Telling the user how far it is: a bar on a terminal, log lines elsewhere, JSON lines, nothing.

All of it goes to standard error, so that standard output holds results only.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Never, Protocol, TextIO

from fastdump.report import CollectionReport

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["MODES", "Bar", "JsonLines", "LogLines", "Reporter", "Silent", "reporter"]

MODES = ("auto", "bar", "json", "none")

_LOG_SECONDS = 10


class Reporter(Protocol):
    """Hears what happens while a command runs."""

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """A task begins; both totals are estimates of documents and of their bytes as BSON."""

    def update(self, documents: int, raw_bytes: int) -> None:
        """So much of it is done since the start."""

    def finished(self, collection: CollectionReport) -> None:
        """A collection is complete."""

    def note(self, message: str) -> None:
        """Something that the user should know."""

    def stop(self) -> None:
        """The task has ended, well or not."""


class Silent:
    """Says nothing."""

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Say nothing."""

    def update(self, documents: int, raw_bytes: int) -> None:
        """Say nothing."""

    def finished(self, collection: CollectionReport) -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """Say nothing."""


class Bar:
    """A progress bar with documents, MB/s and the time left, and a line per finished collection."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: tqdm[Never] | None = None

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Draw it empty."""
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
        """Move it."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{documents:,} documents", refresh=False)
            self._bar.update(raw_bytes - self._bar.n)

    def finished(self, collection: CollectionReport) -> None:
        """Print a line above it."""
        self.note(_line(collection))

    def note(self, message: str) -> None:
        """Print a line above it."""
        from tqdm import tqdm

        tqdm.write(message, file=self._stream)

    def stop(self) -> None:
        """Take it off the screen."""
        if self._bar is not None:
            self._bar.close()


class LogLines:
    """Plain lines with the time, for logs: one per finished collection and one every 10 s."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._task = ""
        self._totals = (0, 0)
        self._spoken = time.monotonic()

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Say what begins."""
        self._task, self._totals = task, (documents, raw_bytes)
        self.note(f"{task}: about {documents:,} documents, {raw_bytes / 1e6:,.1f} MB")

    def update(self, documents: int, raw_bytes: int) -> None:
        """Say how far it is, now and then."""
        if time.monotonic() - self._spoken > _LOG_SECONDS:
            share = 100 * raw_bytes / max(self._totals[1], raw_bytes, 1)
            self.note(
                f"{self._task}: {documents:,} documents, {raw_bytes / 1e6:,.1f} MB ({share:.0f} %)"
            )

    def finished(self, collection: CollectionReport) -> None:
        """Print its line."""
        self.note(_line(collection))

    def note(self, message: str) -> None:
        """Print a line."""
        self._spoken = time.monotonic()
        print(f"{time.strftime('%H:%M:%S')} {message}", file=self._stream, flush=True)

    def stop(self) -> None:
        """Nothing is left to tidy."""


class JsonLines:
    """One JSON object per line, each with an `event`, for programs that watch."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def start(self, task: str, documents: int, raw_bytes: int) -> None:
        """Event `start`."""
        self._emit("start", task=task, documents=documents, raw_bytes=raw_bytes)

    def update(self, documents: int, raw_bytes: int) -> None:
        """Event `progress`."""
        self._emit("progress", documents=documents, raw_bytes=raw_bytes)

    def finished(self, collection: CollectionReport) -> None:
        """Event `collection`."""
        self._emit(
            "collection",
            name=collection.name,
            documents=collection.documents,
            raw_bytes=collection.raw_bytes,
            file_bytes=collection.file_bytes,
            seconds=round(collection.seconds, 3),
        )

    def note(self, message: str) -> None:
        """Event `note`."""
        self._emit("note", message=message)

    def stop(self) -> None:
        """Event `stop`."""
        self._emit("stop")

    def _emit(self, event: str, **fields: object) -> None:
        print(json.dumps({"event": event, **fields}), file=self._stream, flush=True)


def reporter(mode: str, stream: TextIO = sys.stderr) -> Reporter:
    """The reporter for one of `MODES`: `auto` is a bar on a terminal and log lines elsewhere."""
    if mode == "none":
        return Silent()
    if mode == "json":
        return JsonLines(stream)
    if mode == "bar" or stream.isatty():
        return Bar(stream)
    return LogLines(stream)


def _line(collection: CollectionReport) -> str:
    return (
        f"{_one_line(collection.name)}: {collection.documents:,} documents, "
        f"{collection.raw_bytes / 1e6:,.1f} MB"
    )


def _one_line(name: str) -> str:
    return name if name.isprintable() else repr(name)
