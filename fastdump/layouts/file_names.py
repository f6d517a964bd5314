"""File names for collections, and back.

A collection's name may hold anything but a NUL: slashes, dots, line breaks, any Unicode. Its file
name is the name percent-encoded (RFC 3986, section 2.1, of its UTF-8 bytes) where a file system,
a path or a shell could misread it, and readable everywhere else. docs/formats.md has the rules.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote

__all__ = ["OPLOG_FILE", "collection_name", "file_names", "is_cut"]

OPLOG_FILE = "oplog.bson"
"""In every layout, whether it is compressed or not, as mongodump has it."""

MAX_STEM_BYTES = 200
"""File systems allow 255 bytes; the rest is for `.gz`, a part's number and a hidden prefix."""

_CUT = "%24"
_HASH_CHARACTERS = 27  # SHA-1 as base64url, without padding
_RESERVED = frozenset('/\\%:*?"<>|')  # what Linux, Windows or SMB keep for themselves


def file_names(names: Iterable[str]) -> dict[str, str]:
    """The stem (file name without `.gz`) of each collection of one backup.

    Names that differ only in case, or in how Unicode composes a letter, would be one file on some
    file systems: there, all but lower-case ASCII is encoded.
    """
    names = list(names)
    alike = Counter(map(_folded, names))
    return {name: _stem(name, alone=alike[_folded(name)] == 1) for name in names}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str, *, alone: bool) -> str:
    last = len(name) - 1
    encoded = "".join(
        character
        if _is_plain(character, at_edge=place in (0, last), alone=alone)
        else _percent(character)
        for place, character in enumerate(name)
    )
    if len(encoded.encode()) <= MAX_STEM_BYTES:
        return encoded
    digest = base64.urlsafe_b64encode(hashlib.sha1(name.encode(), usedforsecurity=False).digest())
    kept = encoded.encode()[: MAX_STEM_BYTES - len(_CUT) - _HASH_CHARACTERS].decode(errors="ignore")
    return _whole_escapes(kept) + _CUT + digest.decode().rstrip("=")


def _is_plain(character: str, *, at_edge: bool, alone: bool) -> bool:
    if character in _RESERVED or not character.isprintable():
        return False
    if (
        at_edge and character in "-. "
    ):  # hidden files, options of a command, names that Windows cuts
        return False
    return alone or (character.isascii() and not character.isupper())


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _whole_escapes(text: str) -> str:
    """Without an escape that was cut in the middle."""
    place = text.rfind("%", len(text) - 2)
    return text if place < 0 else text[:place]


def collection_name(stem: str) -> str:
    """The collection whose file has that stem."""
    return unquote(stem)


def is_cut(stem: str) -> bool:
    """Whether the stem of a very long name was cut, so that only a manifest knows the whole."""
    return stem[-_HASH_CHARACTERS - len(_CUT) : -_HASH_CHARACTERS] == _CUT
