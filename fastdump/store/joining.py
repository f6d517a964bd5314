"""Joining the parts of a collection into its file, in order, while later parts are still made."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from fastdump.codec import gzip
from fastdump.model import Collection, Part
from fastdump.report import CollectionReport

_READ_BYTES = 1024 * 1024

__all__ = ["JoinedFile", "JoinedLines", "JoinedMembers", "file_digest"]


class JoinedFile:
    """The file of one collection, growing by its parts; its digest is that of the whole file.

    Parts may come in any order. The first becomes the file itself, by a rename, so that a
    collection of one part is never copied; the others are appended by the thread of `joiner`.
    """

    def __init__(self, path: Path, collection: Collection, joiner: ThreadPoolExecutor) -> None:
        self.path = path
        self.collection = collection
        self._joiner = joiner
        self._waiting: dict[int, tuple[Path, Part]] = {}
        self._joined: list[Future[None]] = []
        self._parts: list[Part] = []
        self._hash = blake3()

    def add(self, number: int, path: Path, part: Part) -> None:
        """Take over part `number` (from 0), in that file, and whatever was waiting for it."""
        self._waiting[number] = path, part
        while (following := self._waiting.pop(len(self._parts), None)) is not None:
            self._joined.append(self._joiner.submit(self._append, following[0]))
            self._parts.append(following[1])

    def finish(self) -> None:
        """Wait until every part is in the file.

        Raises:
            OSError: one could not be appended.
        """
        for joined in self._joined:
            joined.result()

    @property
    def digest(self) -> str:
        """The hexadecimal digest of the finished file."""
        return blake3(self._hash.digest()).hexdigest()

    def report(self) -> CollectionReport:
        """What the parts sum up to."""
        return CollectionReport(
            self.collection.namespace,
            self.collection.kind,
            sum(part.documents for part in self._parts),
            sum(part.raw_bytes for part in self._parts),
            sum(part.file_bytes for part in self._parts),
            sum(part.seconds for part in self._parts),
        )

    def _append(self, part: Path) -> None:
        """In the joiner's thread, while others compress."""
        _hash_file(part, self._hash)
        _append(part, self.path)


class JoinedMembers(JoinedFile):
    """A file of members; its digest is made of theirs, which workers computed."""

    @property
    def digest(self) -> str:
        """The hexadecimal digest of the members of the finished file."""
        return blake3(b"".join(part.member_digests for part in self._parts)).hexdigest()

    def _append(self, part: Path) -> None:
        _append(part, self.path)


class JoinedLines(JoinedFile):
    """A file of JSON lines: its parts are pieces of one gzip member, which needs an end."""

    def finish(self) -> None:
        """Wait until every part is in the file, and write its end.

        Raises:
            OSError: the disk refuses.
        """
        super().finish()
        if end := self._end():
            with self.path.open("ab") as file:
                file.write(end)
            self._hash.update(end)

    def report(self) -> CollectionReport:
        """What the parts and the end sum up to."""
        report = super().report()
        return replace(report, file_bytes=report.file_bytes + len(self._end()))

    def _end(self) -> bytes:
        if not self._parts:
            return b""  # a view has no file
        return gzip.stream_end((part.text_crc, part.text_bytes) for part in self._parts)


def file_digest(path: Path) -> bytes:
    """The BLAKE3 of a whole file, 32 bytes.

    Raises:
        OSError: it cannot be read.
    """
    digest = blake3()
    _hash_file(path, digest)
    return digest.digest()


def _hash_file(path: Path, digest: blake3) -> None:
    with path.open("rb") as file:
        # Not by a memory map, whose pages would count as this process's memory.
        while piece := file.read(_READ_BYTES):
            digest.update(piece)


def _append(part: Path, path: Path) -> None:
    if not path.exists():
        part.rename(path)
        return
    with part.open("rb") as source, path.open("r+b") as target:
        target.seek(0, os.SEEK_END)
        offset, size = 0, os.fstat(source.fileno()).st_size
        while offset < size:
            # Within the kernel: a third of the time that reading and writing takes.
            offset += os.sendfile(target.fileno(), source.fileno(), offset, size - offset)
        # While others compress: 0.1 s less to wait for at the end of 320 MB.
        os.fdatasync(target.fileno())
    part.unlink()
