"""Reading the files of a backup: cut into segments, and each segment's documents run by run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

from blake3 import blake3

from fastdump.codec import bson, gzip, lines
from fastdump.codec.bson import Batch
from fastdump.codec.lines import Lines
from fastdump.errors import BackupDamagedError, FormatError
from fastdump.model import OPLOG, Encoding, Member, Place, Segment, StoredCollection
from fastdump.report import Problem
from fastdump.storage.disk_errors import disk

__all__ = [
    "SEGMENT_BYTES",
    "FileReader",
    "damaged",
    "read_lines",
    "read_members",
]

SEGMENT_BYTES = 32 * 1024 * 1024
"""How many bytes of documents one worker takes in one go."""

_READ_BYTES = 1024 * 1024


class FileReader:
    """Reads the files of every layout of files, which say themselves what they hold."""

    def missing(self, collections: Sequence[StoredCollection]) -> list[Problem]:
        """Return which files are missing or have another size."""
        problems = []
        for collection in collections:
            if collection.path is None:
                continue
            try:
                size = collection.path.stat().st_size
            except FileNotFoundError:
                problems.append(Problem(collection.path, "the file is missing"))
                continue
            if size != collection.file_bytes:
                problems.append(
                    Problem(
                        collection.path,
                        f"has {size} bytes, {collection.file_bytes} were written",
                    )
                )
        return problems

    def segments(
        self,
        collection: StoredCollection,
        readers: int = 1,
        *,
        whole: bool = False,
        lost: list[str] | None = None,
    ) -> list[Segment]:
        """Cut a collection's file at its members.

        A gzip file that is not made of members is one segment too, unless it holds JSON lines:
        those are shared by so many readers, for each of whom parsing them is the larger part of
        the work.
        """
        path = collection.path
        if path is None or (lost is not None and not path.exists()):
            return []
        with disk(path), damaged(path), path.open("rb") as file:
            descriptor = file.fileno()
            size = os.fstat(descriptor).st_size
            start = os.pread(descriptor, gzip.HEADER_BYTES, 0)
            if _is_plain(collection, path, start):
                cut = _plain_segments(collection, path, descriptor, size, whole=whole, lost=lost)
            elif gzip.has_members(start):
                found = list(_found_members(path, descriptor, size, lost))
                groups = enumerate([found] if whole else _grouped(found))
                cut = [_segment(collection, path, number, group, 0) for number, group in groups]
            elif start[:2] == gzip.MAGIC[: len(start[:2])]:
                cut = _foreign_segments(collection, path, size, 1 if whole else readers)
            else:
                raise FormatError("this is no gzip file")
        return [replace(segment, ordered=whole) for segment in cut]

    def batches(self, segment: Segment, lost: list[str] | None = None) -> Iterator[Batch]:
        """Yield the documents of a segment, about a megabyte at a time."""
        batches = _members(segment, lost) if segment.members is not None else _whole(segment)
        try:
            with disk(segment.path), damaged(segment.path):
                yield from batches
        except BackupDamagedError as error:
            if lost is None:
                raise
            lost.append(f"{error}; what came before that was read")

    def verified(
        self, segment: Segment, digests: list[bytes], problems: list[Problem]
    ) -> Iterator[Batch]:
        """Yield the documents of each intact member of a segment."""
        if segment.members is None:
            yield from self.batches(segment)
            return
        with disk(segment.path), damaged(segment.path):
            for member, data in read_members(segment):
                digests.append(blake3(data).digest())
                try:
                    raw = gzip.unpack(data, member)
                    _check_documents(raw, member)
                except FormatError as error:
                    lost = f"{error} ({member.documents} documents affected)"
                    problems.append(Problem(segment.path, lost))
                else:
                    yield Batch(raw, member.documents)


def _is_plain(collection: StoredCollection, path: Path, start: bytes) -> bool:
    """Whether a file is nothing but documents, by its name where that tells."""
    if collection.namespace == OPLOG or path.suffix == ".bin":
        return start[:3] != gzip.MAGIC[:3]
    return path.suffix == ".bson"


def _found_members(
    path: Path, descriptor: int, size: int, lost: list[str] | None
) -> Iterator[Member]:
    if lost is None:
        yield from gzip.members(descriptor, 0, size)
        return
    damages: list[str] = []
    yield from gzip.intact_members(descriptor, size, damages)
    lost += [f"{path}: {damage}" for damage in damages]


def _plain_segments(
    collection: StoredCollection,
    path: Path,
    descriptor: int,
    size: int,
    *,
    whole: bool,
    lost: list[str] | None,
) -> list[Segment]:
    """Those of a file that is nothing but documents."""
    one = replace(_segment(collection, path, 0, [], size), compressed=False)
    if not size:
        return [replace(one, documents=0, raw_bytes=0)]
    found = []
    with mmap(descriptor, 0, access=ACCESS_READ) as data:
        try:
            for part in bson.cuts(data, size if whole else SEGMENT_BYTES):
                found.append(part)
        except FormatError as error:
            if lost is None:
                raise
            lost.append(f"{path}: {error}; what came before that can be read")
    return [
        replace(
            one,
            offset=start,
            file_bytes=end - start,
            raw_bytes=end - start,
            documents=documents,
            number=number,
            segments=len(found),
        )
        for number, (start, end, documents) in enumerate(found)
    ]


def _foreign_segments(
    collection: StoredCollection, path: Path, size: int, readers: int
) -> list[Segment]:
    one = _segment(collection, path, 0, [], size)
    try:
        text = lines.is_text(next(gzip.stream(path), b""))
    except FormatError:
        # Nothing of it can be inflated. Komodo leaves such files when its backup fails.
        return [replace(one, encoding=Encoding.JSON)]
    if not text:
        return [one]
    share = replace(
        one, encoding=Encoding.JSON, segments=readers, raw_bytes=one.raw_bytes // readers
    )
    return [replace(share, number=number) for number in range(readers)]


def _grouped(members: list[Member]) -> Iterator[list[Member]]:
    group: list[Member] = []
    raw_bytes = 0
    for member in members:
        is_apart = group and group[-1].offset + group[-1].file_bytes != member.offset
        if is_apart or (group and raw_bytes + member.raw_bytes > SEGMENT_BYTES):
            yield group
            group, raw_bytes = [], 0
        group.append(member)
        raw_bytes += member.raw_bytes
    yield group


def _segment(
    collection: StoredCollection, path: Path, number: int, group: list[Member], foreign_bytes: int
) -> Segment:
    return Segment(
        namespace=collection.namespace,
        target=collection.data,
        path=path,
        offset=group[0].offset if group else 0,
        file_bytes=sum(member.file_bytes for member in group) or foreign_bytes,
        members=len(group) or None,
        documents=sum(member.documents for member in group) if group else None,
        raw_bytes=sum(member.raw_bytes for member in group) or foreign_bytes * gzip.USUAL_RATIO,
        number=number,
        is_of_collection=collection.is_of_collection,
    )


def _whole(segment: Segment) -> Iterator[Batch]:
    """Of a file without members, or a part of a plain one."""
    pieces = _read_range(segment) if not segment.compressed else gzip.stream(segment.path)
    return bson.reframe(pieces)


def _members(segment: Segment, lost: list[str] | None) -> Iterator[Batch]:
    for member, data in read_members(segment):
        try:
            raw = gzip.unpack(data, member)
        except FormatError as error:
            if lost is None:
                raise
            lost.append(f"{segment.path}: {error} ({member.documents} documents lost)")
        else:
            yield Batch(raw, member.documents)


def _read_range(segment: Segment) -> Iterator[bytes]:
    with segment.path.open("rb") as file:
        file.seek(segment.offset)
        left = segment.file_bytes
        while left and (piece := file.read(min(left, _READ_BYTES))):
            yield piece
            left -= len(piece)


def read_lines(segment: Segment) -> Iterator[Lines]:
    """The segment's share of a file of JSON lines, about a megabyte at a time.

    Raises:
        FormatError: the file is cut or damaged; the lines before that were yielded.
        StorageError: the file cannot be read.
    """
    with disk(segment.path):
        for turn, block in enumerate(lines.blocks(gzip.stream(segment.path))):
            if turn % segment.segments == segment.number:
                yield block


def read_members(segment: Segment) -> Iterator[tuple[Member, bytes]]:
    """The members of a segment with their bytes in the file, unread.

    Raises:
        FormatError: a member's header is not what was written.
        OSError: the file cannot be read.
    """
    with segment.path.open("rb") as file:
        end = segment.offset + segment.file_bytes
        for member in gzip.members(file.fileno(), segment.offset, end):
            yield member, os.pread(file.fileno(), member.file_bytes, member.offset)


def _check_documents(raw: bytes, member: Member) -> None:
    """Check the framing of a member's documents.

    Raises:
        FormatError: these are no documents, or not so many as the member says.
    """
    found = len(bson.spans(raw))
    if found != member.documents:
        raise FormatError(
            f"the member at byte {member.offset} holds {found} documents, not {member.documents}"
        )


@contextmanager
def damaged(path: Place) -> Iterator[None]:
    """Add the file's name to a FormatError within.

    Raises:
        BackupDamagedError: instead of the FormatError.
    """
    try:
        yield
    except FormatError as error:
        raise BackupDamagedError(f"{path}: {error}") from error
