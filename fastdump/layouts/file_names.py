"""Convert names of collections to file names and back.

A collection's name may contain anything but a NUL: slashes, dots, line breaks, any Unicode. In the
file name, characters that a file system, a path or a shell could misread are percent-encoded (RFC
3986, section 2.1, of their UTF-8 bytes); all others stay readable. docs/formats.md has the rules.
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
"""Name of the oplog's file in every layout, compressed or not, as in mongodump."""

MAX_STEM_BYTES = 200
"""Longest stem in bytes. File systems allow 255; the rest is for `.gz`, a part's number and a
hidden prefix."""

_CUT = "%24"
_HASH_CHARACTERS = 27  # SHA-1 as base64url, without padding
_RESERVED = frozenset('/\\%:*?"<>|')  # reserved by Linux, Windows or SMB


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Return the stem (the file name without `.gz`) for each collection of one backup.

    Names that differ only in case, or in how Unicode composes a letter, would be the same file on
    some file systems. In such names everything but lower-case ASCII is encoded.
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
    """Return the text without an escape at its end that was cut in the middle."""
    place = text.rfind("%", len(text) - 2)
    return text if place < 0 else text[:place]


def collection_name(stem: str) -> str:
    """Return the name of the collection whose file has that stem."""
    return unquote(stem)


def is_cut(stem: str) -> bool:
    """Return True if a stem was shortened, so that only a manifest has the whole name."""
    return stem[-_HASH_CHARACTERS - len(_CUT) : -_HASH_CHARACTERS] == _CUT
