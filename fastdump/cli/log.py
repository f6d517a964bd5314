"""Print messages on standard error: sentences for people, or lines with level and time for a log.

`--log-format text` writes `2026-08-12T03:00:01.123Z ERROR …` for journald, and `json` an object on
each line for Loki and others. Nothing else goes to standard error then.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import deque
from datetime import UTC, datetime

from fastdump.config import LOG_FORMATS

__all__ = ["LOGGER", "add_log_format", "error", "event", "last_lines", "note", "start"]

LOGGER = logging.getLogger("fastdump")

_KEPT = 30
"""Number of lines that a heartbeat sends after a failure."""

_PREFIXES = {logging.ERROR: "fastdump: ", logging.WARNING: "note: "}
_LEVELS = {logging.ERROR: "error", logging.WARNING: "warning", logging.INFO: "info"}
_kept = deque[str](maxlen=_KEPT)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{_PREFIXES.get(record.levelno, '')}{record.getMessage()}"


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = " ".join(record.getMessage().splitlines())
        return f"{_time(record)} {_LEVELS[record.levelno].upper()} {message}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {"time": _time(record), "level": _LEVELS[record.levelno]}
        more = getattr(record, "facts", {})
        return json.dumps({**facts, "message": record.getMessage(), **more})


class _ToStandardError(logging.Handler):
    """Handler that looks for standard error anew each time, since tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class _ToMemory(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _kept.append(self.format(record))


def add_log_format(parser: argparse.ArgumentParser) -> None:
    """Add `--log-format`."""
    parser.add_argument(
        "--log-format",
        metavar="|".join(LOG_FORMATS),
        help="write what happens to standard error, a line for each event with time and level, "
        "instead of bars and tables (FASTDUMP_LOG_FORMAT)",
    )


def start(form: str | None, *, quiet: bool = False) -> None:
    """Choose the form of all that is said from now on.

    Args:
        form: one of `LOG_FORMATS`; None for sentences, without events.
        quiet: True for errors only.
    """
    shown, kept = _ToStandardError(), _ToMemory()
    shown.setFormatter({"text": _Text, "json": _Json}.get(form or "", _Plain)())
    shown.setLevel(logging.ERROR if quiet else logging.WARNING if form is None else logging.INFO)
    kept.setFormatter(_Text())
    LOGGER.handlers[:] = [shown, kept]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def error(message: str) -> None:
    """Say what failed."""
    LOGGER.error("%s", message)


def note(message: str) -> None:
    """Say what the user should know."""
    LOGGER.warning("%s", message)


def event(message: str, **facts: object) -> None:
    """Say what happened, in a log only; JSON has the facts as fields too."""
    known = {name: one for name, one in facts.items() if one is not None}
    LOGGER.info("%s", message, extra={"facts": known})


def last_lines() -> str:
    """Return the last lines that were said, with level and time."""
    return "\n".join(_kept)


def _time(record: logging.LogRecord) -> str:
    when = datetime.fromtimestamp(record.created, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z"
