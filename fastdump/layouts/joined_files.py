"""Join the parts of a collection into its file, in order, while later parts are still written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from fastdump.codec import gzip
from fastdump.errors import FormatError
from fastdump.model import Collection, Part
from fastdump.report import CollectionReport
from fastdump.storage.volume import Volume

_READ_BYTES = 1024 * 1024

__all__ = ["JoinedFile", "JoinedLines", "JoinedMembers", "file_digest"]


class JoinedFile:
    """File of one collection, which grows part by part; its digest is that of the whole file.

    Parts may arrive in any order. The first becomes the file itself, by a rename, so that a
    collection of one part is never copied; the others are appended by the thread of `joiner`.
    """

    def __init__(
        self, path: Path, collection: Collection, joiner: ThreadPoolExecutor, volume: Volume
    ) -> None:
        self.path = path
        self.collection = collection
        self._joiner = joiner
        self._volume = volume
        self._waiting: dict[int, tuple[Path, Part]] = {}
        self._joined: list[Future[None]] = []
        self._parts: list[Part] = []
        self._hash = blake3()

    def add(self, number: int, path: Path, part: Part) -> None:
        """Append the file of part `number` (from 0), and the parts that were waiting for it."""
        self._waiting[number] = path, part
        while (following := self._waiting.pop(len(self._parts), None)) is not None:
            self._joined.append(self._joiner.submit(self._append, following[0]))
            self._parts.append(following[1])

    def resume(self, parts: Mapping[int, Part], paths: Mapping[int, Path]) -> set[int]:
        """Take over the intact parts of an earlier run.

        Args:
            parts: the parts in its journal, by number.
            paths: the file of each part, which exists if it was not yet joined.

        Returns:
            The numbers of the parts that need not be written again.

        Raises:
            OSError: the disk refuses.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        end = number = 0
        while (part := parts.get(number)) and end + part.file_bytes <= size:
            if not is_part(self.path, end, part):
                break
            paths[number].unlink(missing_ok=True)
            self._parts.append(part)
            end, number = end + part.file_bytes, number + 1
        if number:
            os.truncate(self.path, end)
            self._rehash()
        else:
            self.path.unlink(missing_ok=True)
        taken = set(range(number))
        for later, part in sorted(parts.items()):
            path = paths[later]
            if later < number or not path.exists():
                continue
            if path.stat().st_size == part.file_bytes and is_part(path, 0, part):
                taken.add(later)
                self.add(later, path, part)
        return taken

    def _rehash(self) -> None:
        _hash_file(self.path, self._hash)

    def finish(self) -> None:
        """Wait until every part is in the file.

        Raises:
            OSError: a part could not be appended.
        """
        for joined in self._joined:
            joined.result()

    @property
    def digest(self) -> str:
        """The hexadecimal digest of the finished file."""
        return blake3(self._hash.digest()).hexdigest()

    @property
    def parts(self) -> Sequence[Part]:
        """The parts that are joined or being joined, in order."""
        return self._parts

    def report(self) -> CollectionReport:
        """Return the sums of the parts."""
        found = self.collection
        return CollectionReport.of_written(found.namespace, found.kind, self._parts)

    def _append(self, part: Path) -> None:
        """Hash and append a part; runs in the joiner's thread, while workers compress."""
        _hash_file(part, self._hash)
        self._join(part)

    def _join(self, part: Path) -> None:
        if self.path.exists():
            self._volume.append(part, self.path)
        else:
            part.rename(self.path)


class JoinedMembers(JoinedFile):
    """File of gzip members; its digest is computed from the members' digests, as workers sent."""

    @property
    def digest(self) -> str:
        """The hexadecimal digest of the members of the finished file."""
        return blake3(b"".join(part.member_digests for part in self._parts)).hexdigest()

    def _append(self, part: Path) -> None:
        self._join(part)


class JoinedLines(JoinedFile):
    """File of JSON lines: its parts are pieces of one gzip member, which needs an end."""

    def finish(self) -> None:
        """Wait until every part is in the file, and write the end of the gzip member.

        Raises:
            OSError: the disk refuses.
        """
        super().finish()
        if end := self._end():
            with self.path.open("ab") as file:
                file.write(end)
            self._hash.update(end)

    def report(self) -> CollectionReport:
        """Return the sums of the parts and the end."""
        report = super().report()
        return replace(report, file_bytes=report.file_bytes + len(self._end()))

    def _end(self) -> bytes:
        if not self._parts:
            return b""  # a view has no file
        return gzip.stream_end((part.text_crc, part.text_bytes) for part in self._parts)


def is_part(path: Path, offset: int, part: Part) -> bool:
    """Return True if a file contains a part at an offset, compared by digest.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        descriptor, end = file.fileno(), offset + part.file_bytes
        if not part.member_digests:
            digest = blake3()
            _hash_range(descriptor, offset, end, digest)
            return digest.hexdigest() == part.digest
        try:
            found = b"".join(
                blake3(os.pread(descriptor, member.file_bytes, member.offset)).digest()
                for member in gzip.members(descriptor, offset, end)
            )
        except FormatError:
            return False
    return found == part.member_digests


def file_digest(path: Path) -> bytes:
    """Return the BLAKE3 of a whole file, 32 bytes.

    Raises:
        OSError: the file cannot be read.
    """
    digest = blake3()
    _hash_file(path, digest)
    return digest.digest()


def _hash_file(path: Path, digest: blake3) -> None:
    with path.open("rb") as file:
        _hash_range(file.fileno(), 0, os.fstat(file.fileno()).st_size, digest)


def _hash_range(descriptor: int, offset: int, end: int, digest: blake3) -> None:
    """Add a range of a file to a digest, up to the file's end."""
    # A memory map would be simpler, but its pages would count as this process's memory.
    while piece := os.pread(descriptor, min(_READ_BYTES, end - offset), offset):
        digest.update(piece)
        offset += len(piece)
