"""What the driver leaves out of a connection string, and whether that does harm.

It only warns of options that it does not know, of values that it cannot read and of compressors
that are not installed, and goes on without them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from pymongo.errors import ConfigurationError
from pymongo.uri_parser import parse_uri

__all__ = ["LeftOut", "left_out"]

_OF_SECURITY = ("tls", "ssl")
_OFTEN = frozenset({"readpreferencetags"})
"""Options that a connection string may hold several times."""


class LeftOut(NamedTuple):
    """An option that the driver would go on without."""

    message: str
    is_harmless: bool


def left_out(uri: str) -> Iterator[LeftOut]:
    """Return what the driver would go on without.

    It does no harm if an option is not known, which strings that are shared with other programs
    have, or if a compressor is missing. A value that cannot be read is a mistake, and without an
    option that is about TLS, the connection may be less secure than was asked for.
    """
    seen = dict[str, str]()
    for option in re.split("[&;]", uri.partition("?")[2]):
        name, _equals, value = option.partition("=")
        key = name.lower()
        if seen.setdefault(key, value) != value and key not in _OFTEN:
            yield LeftOut(f"the option {name} is there twice, with different values", False)
        for warning in _warnings(option):
            yield _judged(name, key, warning)


def _judged(name: str, key: str, warning: str) -> LeftOut:
    if not warning.startswith("Unknown option"):
        return LeftOut(f"the option {name}: {warning}", key == "compressors")
    if key.startswith(_OF_SECURITY):
        return LeftOut(
            f"the option {name} is not known, and without it the connection may be less secure "
            "than you want: correct it, or leave it out",
            False,
        )
    return LeftOut(f"the option {name} is not known, and is ignored", True)


def _warnings(option: str) -> list[str]:
    """Return what the driver warns of when a connection string has only that option."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")  # what the garbage collector says may come here too
        warnings.simplefilter("always", UserWarning)
        try:
            parse_uri(f"mongodb://localhost/?{option}", warn=True)
        except (ConfigurationError, OSError, TypeError, ValueError):
            return []  # whoever connects hears of it
    return list(dict.fromkeys(str(one.message) for one in said))  # it says each twice
