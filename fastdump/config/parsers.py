"""Parse the texts of settings. The message of a ValueError describes the allowed values."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from fastdump.model import GZIP, METHODS, NONE, ClusterTime, Compression

__all__ = [
    "cluster_time",
    "compression",
    "duration",
    "mode",
    "names",
    "number_or_none",
    "one_of",
    "percentage",
    "positive",
    "switch",
    "whole_number",
]


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers within limits."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII) else -1
        if minimum <= number and (maximum is None or number <= maximum):
            return number
        upper = "" if maximum is None else f" and at most {maximum}"
        raise ValueError(f"a whole number of at least {minimum}{upper}")

    return parse


def one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser of fixed words."""

    def parse(text: str) -> str:
        if text in choices:
            return text
        raise ValueError(f"one of {', '.join(choices)}")

    return parse


def mode(text: str) -> int:
    """Parse octal permissions of files, which must let the owner read and write."""
    if re.fullmatch(r"0?[0-7]{3}", text.strip()) and int(text, 8) & 0o600 == 0o600:
        return int(text, 8)
    raise ValueError("permissions of files such as 600 or 640")


def cluster_time(text: str) -> ClusterTime | None:
    """Parse a cluster time, in mongorestore's form; an empty text is None."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,10})(?::(\d{0,10}))?", text.strip(), re.ASCII)
    if not found:
        raise ValueError("seconds since 1970 and a counter, such as 1764009600:1")
    return ClusterTime(int(found[1]), int(found[2] or 0))


def compression(text: str) -> Compression:
    """Parse `gzip`, `zstd` or `none`, and a level after a colon.

    `true` and `false` are the values of `FASTDUMP_GZIP`.
    """
    method, _colon, level = text.strip().lower().partition(":")
    if method not in METHODS:
        try:
            method = GZIP if switch(method) else NONE
        except ValueError:
            raise ValueError(f"one of {', '.join(METHODS)}, or with a level as zstd:3") from None
    lowest, highest, _usual = METHODS[method]
    return Compression(method, whole_number(lowest, highest)(level) if level else None)


def positive(text: str) -> float | None:
    """Parse a number above zero; an empty text is None, for no limit."""
    if not text:
        return None
    if re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text.strip(), re.ASCII) and float(text) > 0:
        return float(text)
    raise ValueError("a number above zero")


def number_or_none(text: str) -> int | None:
    """Parse a whole number; an empty text is None."""
    return whole_number(0)(text) if text else None


def duration(text: str) -> timedelta | None:
    """Parse a time in hours, days or weeks; an empty text is None."""
    if not text:
        return None
    found = re.fullmatch(r"\s*([1-9]\d{0,4})([hdw])\s*", text, re.ASCII)
    if not found:
        raise ValueError("a number of hours, days or weeks, such as 12h, 30d or 8w")
    unit = {"h": "hours", "d": "days", "w": "weeks"}[found[2]]
    return timedelta(**{unit: int(found[1])})


def percentage(text: str) -> float:
    """Parse a percentage above zero; return it as a share, at most 1."""
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,3})?)\s*%\s*", text, re.ASCII)
    if found and 0 < float(found[1]) <= 100:
        return float(found[1]) / 100
    raise ValueError("a percentage such as 5%")


def switch(text: str) -> bool:
    """Parse a yes or no."""
    word = text.strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("true or false")


def names(text: str) -> tuple[str, ...]:
    """Parse names separated by commas."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)
