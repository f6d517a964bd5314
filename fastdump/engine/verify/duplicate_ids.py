"""Finding documents with one `_id` in the collections of a backup, in bounded memory.

Every `_id` becomes a key of 16 bytes: a digest, and the number of its collection. Workers write
keys to files, in sorted blocks, so that all keys that begin alike can be found in each block. Then
as many of them as fit into memory are compared at a time. Where two keys are equal, the documents
are read again, and only those count that have the same `_id` byte for byte: digests that are equal
by accident are no false alarm.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from blake3 import blake3

from fastdump.codec.bson import id_element, spans
from fastdump.model import Namespace, Segment
from fastdump.mongo.documents_by_id import shown_id
from fastdump.storage.disk_errors import disk
from fastdump.storage.volume import private

__all__ = [
    "Block",
    "KeyWriter",
    "Keys",
    "Met",
    "Share",
    "Sighting",
    "Watch",
    "compare",
    "doubled",
    "shares",
]

_DIGEST_BYTES = 12
_KEY = Struct(f"{_DIGEST_BYTES}sI")
_WHOLE_KEY = Struct(f"{_KEY.size}s")
_BLOCK_KEYS = 2**17
"""Number of keys to sort at a time: 10 MB of memory."""
_SHARE_KEYS = 250_000
"""About how many are compared at a time: 30 MB of memory."""
_PIECE_KEYS = 2**16
_MAX_MET = 1000
"""For how many keys of a collection the documents are read again, at most."""
_ENOUGH = 2

Key = bytes
"""A digest of an `_id`, and the number of its collection."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of sorted keys in a file."""

    path: Path
    offset: int
    starts: array[int]
    """For each first byte, how many keys come before; at the end, how many keys there are."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The folder that keys are written to, and the collections that they are of."""

    folder: Path
    names: tuple[Namespace, ...]
    """The collections, in the order of their numbers."""

    def writer(self, segment: Segment) -> KeyWriter | None:
        """Return a writer for the keys of a segment; None if keys of it are not wanted."""
        if segment.namespace not in self.names:
            return None
        name = f"{self.names.index(segment.namespace)}.{segment.number}"
        return KeyWriter(self, self.folder / name)


class KeyWriter:
    """A writer of the keys of documents to a new file.

    Args:
        keys: the collections.
        path: the file; what is there is replaced.
    """

    def __init__(self, keys: Keys, path: Path) -> None:
        self._numbers = _numbers(keys)
        self._path = path
        self._waiting: list[Key] = []
        self._blocks: list[Block] = []
        self._size = 0
        with disk(path), open(path, "wb", opener=private):
            pass

    def add(self, name: Namespace, run: bytes) -> None:
        """Add the documents of a run, except those without `_id`, which a view may show.

        Raises:
            FormatError: the run is not made of documents.
            StorageError: the disk refuses.
        """
        self._waiting += (key for key, _identity, _span in _keyed(self._numbers[name], run))
        if len(self._waiting) >= _BLOCK_KEYS:
            self._flush()

    def end(self) -> tuple[Block, ...]:
        """Write the keys that are left, and return the blocks that were written.

        Raises:
            StorageError: the disk refuses.
        """
        self._flush()
        return tuple(self._blocks)

    def _flush(self) -> None:
        keys, self._waiting = sorted(self._waiting), []
        if not keys:
            return
        starts = array("Q", (bisect_left(keys, bytes([first])) for first in range(256)))
        starts.append(len(keys))
        with disk(self._path), self._path.open("ab") as file:
            file.write(b"".join(keys))
        self._blocks.append(Block(self._path, self._size, starts))
        self._size += len(keys) * _KEY.size


def _numbers(keys: Keys) -> dict[Namespace, int]:
    return {name: number for number, name in enumerate(keys.names)}


def _keyed(collection: int, run: bytes) -> Iterator[tuple[Key, bytes, tuple[int, int]]]:
    """Yield the key, the `_id` and the place of each document that has an `_id`."""
    for span in spans(run):
        identity = id_element(run, span)
        if identity is not None:
            yield _KEY.pack(blake3(identity).digest(_DIGEST_BYTES), collection), identity, span


@dataclass(frozen=True, slots=True)
class Share:
    """A share of all keys, those that begin with some bytes, which are compared in one go."""

    ranges: tuple[tuple[Path, int, int], ...]
    """Files, each with the offset of the first key and the number of keys."""
    turns: int
    """In how many turns to compare them, so that they fit into memory."""


def shares(blocks: Sequence[Block]) -> Iterator[Share]:
    """Divide all keys among shares; equal keys are in the same share."""
    first = 0
    while first < 256:
        last, keys = first, 0
        while last < 256 and (not keys or keys + _count(blocks, last) <= _SHARE_KEYS):
            keys += _count(blocks, last)
            last += 1
        ranges = [
            (block.path, block.offset + block.starts[first] * _KEY.size, count)
            for block in blocks
            if (count := block.starts[last] - block.starts[first])
        ]
        yield Share(tuple(ranges), -(-keys // _SHARE_KEYS))
        first = last


def _count(blocks: Sequence[Block], first: int) -> int:
    return sum(block.starts[first + 1] - block.starts[first] for block in blocks)


@dataclass(frozen=True, slots=True)
class Met:
    """The keys that several documents have."""

    counts: Counter[int]
    """Number of documents with a key that another has too, by the number of their collection."""
    keys: dict[int, set[Key]]
    """Some of those keys, by the number of their collection."""

    def merge(self, other: Met) -> None:
        """Add the keys of another share."""
        self.counts.update(other.counts)
        for collection, keys in other.keys.items():
            mine = self.keys.setdefault(collection, set())
            mine.update(sorted(keys)[: _MAX_MET - len(mine)])


def compare(share: Share) -> Met:
    """Find the keys of a share that occur more than once.

    Raises:
        StorageError: a file cannot be read.
    """
    found = Met(Counter(), {})
    for turn in range(share.turns):
        seen = set[Key]()
        for key in _keys(share):
            if key[1] % share.turns != turn:
                continue
            if key not in seen:
                seen.add(key)
                continue
            _digest, collection = _KEY.unpack(key)
            found.counts[collection] += 1
            keys = found.keys.setdefault(collection, set())
            if len(keys) < _MAX_MET:
                keys.add(key)
    return found


def _keys(share: Share) -> Iterator[Key]:
    for path, start, count in share.ranges:
        with disk(path), path.open("rb") as file:
            for place in range(0, count, _PIECE_KEYS):
                size = min(_PIECE_KEYS, count - place) * _KEY.size
                data = os.pread(file.fileno(), size, start + place * _KEY.size)
                for (key,) in _WHOLE_KEY.iter_unpack(data):
                    yield key


@dataclass(frozen=True, slots=True)
class Sighting:
    """A document that has one of the keys that are searched for."""

    key: Key
    identity: bytes
    """The whole BLAKE3 of its `_id`, which may be large itself."""
    shown: str
    """Its `_id`, for people."""


class Watch:
    """A search for documents that have one of some keys, which keeps two of each `_id` at most.

    Args:
        keys: the collections.
        wanted: the keys.
    """

    def __init__(self, keys: Keys, wanted: Container[Key]) -> None:
        self._numbers = _numbers(keys)
        self._wanted = wanted
        self._seen = Counter[tuple[Key, bytes]]()
        self.sightings: list[Sighting] = []

    def add(self, name: Namespace, run: bytes) -> None:
        """Search a run of documents of a collection.

        Raises:
            FormatError: the run is not made of documents.
        """
        for key, identity, span in _keyed(self._numbers[name], run):
            if key not in self._wanted:
                continue
            whole = blake3(identity).digest()
            self._seen[key, whole] += 1
            if self._seen[key, whole] <= _ENOUGH:
                self.sightings.append(Sighting(key, whole, shown_id(run, span)))


def doubled(sightings: Iterable[Sighting]) -> list[str]:
    """Return the `_id`s that were seen more than once, for people."""
    seen = Counter[tuple[Key, bytes]]()
    shown = []
    for one in sightings:
        seen[one.key, one.identity] += 1
        if seen[one.key, one.identity] == _ENOUGH:
            shown.append(one.shown)
    return shown
