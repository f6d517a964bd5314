"""Find the options of a connection string that the driver would ignore, and judge if that is safe.

The driver only warns of unknown options, of invalid values and of compressors that are not
installed, and continues without them.
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
"""Options that a connection string may contain several times."""


class LeftOut(NamedTuple):
    """An option that the driver would ignore."""

    message: str
    is_harmless: bool
    """True if the user only needs a note; False if the connection must be refused."""


def left_out(uri: str) -> Iterator[LeftOut]:
    """Yield the options that the driver would ignore.

    An unknown option is harmless, since the string may be shared with other programs, and so is a
    missing compressor. An invalid value is a mistake. Without an option of TLS, the connection may
    be less secure than the user wants.
    """
    seen = dict[str, str]()
    for option in re.split("[&;]", uri.partition("?")[2]):
        name, _equals, value = option.partition("=")
        key = name.lower()
        if seen.setdefault(key, value) != value and key not in _OFTEN:
            yield LeftOut(f"the option {name} occurs twice, with different values", False)
        for warning in _warnings(option):
            yield _judged(name, key, warning)


def _judged(name: str, key: str, warning: str) -> LeftOut:
    if not warning.startswith("Unknown option"):
        return LeftOut(f"the option {name}: {warning}", key == "compressors")
    if key.startswith(_OF_SECURITY):
        return LeftOut(
            f"the option {name} is unknown, and without it the connection may be less secure "
            "than you want: correct it, or leave it out",
            False,
        )
    return LeftOut(f"the option {name} is unknown, and is ignored", True)


def _warnings(option: str) -> list[str]:
    """Return the driver's warnings about a connection string with only that option."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")  # warnings of the garbage collector may arrive here too
        warnings.simplefilter("always", UserWarning)
        try:
            parse_uri(f"mongodb://localhost/?{option}", warn=True)
        except (ConfigurationError, OSError, TypeError, ValueError):
            return []  # `connect` reports this error
    return list(dict.fromkeys(str(one.message) for one in said))  # the driver warns twice
