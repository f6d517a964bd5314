"""From the text of a setting to its value; what a ValueError says is what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["names", "one_of", "switch", "whole_number"]


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers in that range."""

    def parse(text: str) -> int:
        number = int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text, re.ASCII) else -1
        if minimum <= number and (maximum is None or number <= maximum):
            return number
        upper = "" if maximum is None else f" and at most {maximum}"
        raise ValueError(f"a whole number of at least {minimum}{upper}")

    return parse


def one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of fixed words."""

    def parse(text: str) -> str:
        if text in choices:
            return text
        raise ValueError(f"one of {', '.join(choices)}")

    return parse


def switch(text: str) -> bool:
    """Yes or no."""
    word = text.strip().lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError("true or false")


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)
