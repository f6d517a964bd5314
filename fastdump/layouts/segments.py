"""Read the files of a backup: cut them into segments, and read each segment batch by batch."""

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
from fastdump.model import OPLOG, Encoding, FileRange, Location, Member, Segment, StoredCollection
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
"""Wanted size of a segment in bytes of BSON, which one worker reads as one job."""

_READ_BYTES = 1024 * 1024


class FileReader:
    """A reader of the files of every layout of files, which say themselves what they hold."""

    def missing(self, collections: Sequence[StoredCollection]) -> list[Problem]:
        """Return which files are missing or have another size."""
        problems = []
        for collection in collections:
            if (file := collection.file) is None:
                continue
            try:
                size = file.path.stat().st_size
            except FileNotFoundError:
                problems.append(Problem(file.path, "the file is missing"))
                continue
            if size != file.file_bytes:
                message = f"has {size} bytes, but {file.file_bytes} were written"
                problems.append(Problem(file.path, message))
        return problems

    def segments(
        self,
        collection: StoredCollection,
        readers: int = 1,
        *,
        whole: bool = False,
        lost: list[str] | None = None,
    ) -> list[Segment]:
        """Cut the file of a collection into segments at its members.

        A gzip file of another program has no members, so it is one segment. If it contains JSON
        lines, it is one segment for each reader: each inflates the file and parses its share of the
        lines, which is the larger part of the work.
        """
        path = None if collection.file is None else collection.file.path
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
                cut = [_members_segment(collection, path, *group) for group in groups]
            elif start[:2] == gzip.MAGIC[: len(start[:2])]:
                cut = _foreign_segments(collection, path, size, 1 if whole else readers)
            else:
                raise FormatError("this is not a gzip file")
        return [replace(segment, ordered=whole) for segment in cut]

    def batches(self, place: FileRange, lost: list[str] | None = None) -> Iterator[Batch]:
        """Yield the documents in a range of a file, about a megabyte at a time."""
        batches = _members(place, lost) if place.members is not None else _whole(place)
        try:
            with disk(place.path), damaged(place.path):
                yield from batches
        except BackupDamagedError as error:
            if lost is None:
                raise
            lost.append(f"{error}; everything before that was read")

    def verified(
        self, place: FileRange, digests: list[bytes], problems: list[Problem]
    ) -> Iterator[Batch]:
        """Yield the documents of each intact member in a range of a file."""
        if place.members is None:
            yield from self.batches(place)
            return
        with disk(place.path), damaged(place.path):
            for member, data in read_members(place):
                digests.append(blake3(data).digest())
                try:
                    raw = gzip.unpack(data, member)
                    _check_documents(raw, member)
                except FormatError as error:
                    lost = f"{error} ({member.documents} documents affected)"
                    problems.append(Problem(place.path, lost))
                else:
                    yield Batch(raw, member.documents)


def _is_plain(collection: StoredCollection, path: Path, start: bytes) -> bool:
    """Return True if a file contains plain BSON, judged by its name, or by its first bytes."""
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
    """Cut a file of plain BSON into segments."""
    if not size:
        empty = FileRange(path, 0, 0, compressed=False)
        return [replace(_whole_segment(collection, empty), documents=0)]
    found = []
    with mmap(descriptor, 0, access=ACCESS_READ) as data:
        try:
            for part in bson.cuts(data, size if whole else SEGMENT_BYTES):
                found.append(part)
        except FormatError as error:
            if lost is None:
                raise
            lost.append(f"{path}: {error}; everything before that can be read")
    return [
        replace(
            _whole_segment(collection, FileRange(path, start, end - start, compressed=False)),
            number=number,
            segments=len(found),
            documents=documents,
            raw_bytes=end - start,
        )
        for number, (start, end, documents) in enumerate(found)
    ]


def _foreign_segments(
    collection: StoredCollection, path: Path, size: int, readers: int
) -> list[Segment]:
    place = FileRange(path, 0, size)
    one = replace(_whole_segment(collection, place), raw_bytes=size * gzip.USUAL_RATIO)
    in_lines = replace(one, place=replace(place, encoding=Encoding.JSON))
    try:
        text = lines.is_text(next(gzip.stream(path), b""))
    except FormatError:
        # Nothing can be inflated. Komodo leaves such files behind when its backup fails.
        return [in_lines]
    if not text:
        return [one]
    share = replace(in_lines, segments=readers, raw_bytes=one.raw_bytes // readers)
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


def _members_segment(
    collection: StoredCollection, path: Path, number: int, group: list[Member]
) -> Segment:
    """Return the segment of some members that follow one another, or of none."""
    size = sum(member.file_bytes for member in group)
    place = FileRange(path, group[0].offset if group else 0, size, len(group) or None)
    return replace(
        _whole_segment(collection, place),
        number=number,
        documents=sum(member.documents for member in group) if group else None,
        raw_bytes=sum(member.raw_bytes for member in group),
    )


def _whole_segment(collection: StoredCollection, place: FileRange) -> Segment:
    return Segment(
        collection.namespace,
        collection.data,
        place,
        is_of_collection=collection.is_of_collection,
    )


def _whole(place: FileRange) -> Iterator[Batch]:
    """Yield the documents of a file without members, or of a part of a plain one."""
    pieces = gzip.stream(place.path) if place.compressed else _read_range(place)
    return bson.reframe(pieces)


def _members(place: FileRange, lost: list[str] | None) -> Iterator[Batch]:
    for member, data in read_members(place):
        try:
            raw = gzip.unpack(data, member)
        except FormatError as error:
            if lost is None:
                raise
            lost.append(f"{place.path}: {error} ({member.documents} documents lost)")
        else:
            yield Batch(raw, member.documents)


def _read_range(place: FileRange) -> Iterator[bytes]:
    with place.path.open("rb") as file:
        file.seek(place.offset)
        left = place.file_bytes
        while left and (piece := file.read(min(left, _READ_BYTES))):
            yield piece
            left -= len(piece)


def read_lines(segment: Segment) -> Iterator[Lines]:
    """Yield the segment's share of a file of JSON lines, about a megabyte at a time.

    Raises:
        FormatError: the file is cut or damaged; the lines before that were yielded.
        StorageError: the file cannot be read.
    """
    path = segment.place.path
    with disk(path):
        for turn, block in enumerate(lines.blocks(gzip.stream(path))):
            if turn % segment.segments == segment.number:
                yield block


def read_members(place: FileRange) -> Iterator[tuple[Member, bytes]]:
    """Yield the members in a range of a file, each with its bytes as they are in the file.

    Raises:
        FormatError: the header of a member was changed.
        OSError: the file cannot be read.
    """
    with place.path.open("rb") as file:
        end = place.offset + place.file_bytes
        for member in gzip.members(file.fileno(), place.offset, end):
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
def damaged(path: Location) -> Iterator[None]:
    """Add the file's name to a FormatError raised inside the context.

    Raises:
        BackupDamagedError: a FormatError was raised inside.
    """
    try:
        yield
    except FormatError as error:
        raise BackupDamagedError(f"{path}: {error}") from error
