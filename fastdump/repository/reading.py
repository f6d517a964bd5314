"""Reading the pieces of a repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastdump.codec import frames
from fastdump.codec.bson import Batch
from fastdump.errors import BackupDamagedError, FormatError, ObjectNotFoundError
from fastdump.layouts.segments import SEGMENT_BYTES
from fastdump.model import FileRange, Piece, Segment, StoredCollection
from fastdump.report import Problem
from fastdump.repository.envelope import Envelope
from fastdump.repository.pieces import PIECES, key_of, name_in, name_of
from fastdump.storage.interface import Storage

__all__ = ["PieceReader", "names_there", "opened"]


def names_there(storage: Storage) -> dict[bytes, int]:
    """Return the names of all pieces that a repository holds, each with its size in bytes.

    Raises:
        StorageError: the storage cannot be read.
    """
    found = ((name_in(entry.key), entry.size) for entry in storage.list(PIECES))
    return {name: size for name, size in found if name is not None}


def opened(
    storage: Storage, envelope: Envelope, name: bytes, keys: Iterable[bytes]
) -> tuple[bytes, list[Batch]]:
    """Return a piece as it was before it was encrypted, and its documents.

    Args:
        storage: that of the repository.
        envelope: how the piece is encrypted.
        name: its name.
        keys: those of the names of pieces; any may be the right one.

    Raises:
        FormatError: it is not what its name says, or for other keys.
        ObjectNotFoundError: it is missing.
        StorageError: the storage cannot be read.
    """
    data = envelope.open(storage.get(key_of(name)))
    batches = list(frames.unpack(data))
    if all(name_of(batches, key) != name for key in keys):
        raise FormatError("its documents are not those that it is named by")
    return data, batches


class PieceReader:
    """Reads pieces, and sees that each is what its name says.

    Args:
        storage: that of the repository.
        keys: those of the names of its pieces; any may be the right one.
        envelope: how they are encrypted.
    """

    def __init__(self, storage: Storage, keys: Sequence[bytes], envelope: Envelope) -> None:
        self._storage = storage
        self._keys = keys
        self._envelope = envelope

    def missing(self, collections: Sequence[StoredCollection]) -> list[Problem]:
        """Return which pieces of some collections are missing."""
        there = names_there(self._storage)
        return [
            Problem(self._where(piece), f"the piece is missing ({_affected(one, piece)})")
            for one in collections
            for piece in (one.file.pieces if one.file else ())
            if piece.name not in there
        ]

    def segments(
        self,
        collection: StoredCollection,
        readers: int = 1,  # noqa: ARG002 - pieces are small
        *,
        whole: bool = False,
        lost: list[str] | None = None,  # noqa: ARG002 - found when they are read
    ) -> list[Segment]:
        """Return runs of pieces, each of which is about as large as a segment of a file."""
        if collection.file is None:
            return []
        pieces = collection.file.pieces
        groups = [pieces] if whole else list(_grouped(pieces))
        return [
            Segment(
                collection.namespace,
                collection.data,
                FileRange(
                    collection.file.path,
                    0,
                    sum(piece.file_bytes for piece in group),
                    members=len(group),
                    pieces=tuple(group),
                ),
                number,
                len(groups),
                sum(piece.documents for piece in group),
                sum(piece.raw_bytes for piece in group),
                ordered=whole,
                is_of_collection=collection.is_of_collection,
            )
            for number, group in enumerate(groups)
        ]

    def batches(self, place: FileRange, lost: list[str] | None = None) -> Iterator[Batch]:
        """Yield the documents of some pieces, of each all or none."""
        for piece, found in self._pieces(place):
            if not isinstance(found, str):
                yield from found
            elif lost is None:
                raise BackupDamagedError(f"{self._where(piece)}: {found}")
            else:
                lost.append(f"{self._where(piece)}: {found} ({piece.documents} documents lost)")

    def verified(
        self, place: FileRange, digests: list[bytes], problems: list[Problem]
    ) -> Iterator[Batch]:
        """Yield the documents of the intact pieces."""
        for piece, found in self._pieces(place):
            digests.append(piece.name)
            if isinstance(found, str):
                affected = f"{found} ({piece.documents} documents affected)"
                problems.append(Problem(self._where(piece), affected))
            else:
                yield from found

    def _pieces(self, place: FileRange) -> Iterator[tuple[Piece, list[Batch] | str]]:
        """Yield the documents of each piece, or what is wrong with it.

        The next piece is fetched meanwhile.
        """
        with ThreadPoolExecutor(1, "fastdump-piece") as fetching:
            following = [fetching.submit(self._read, piece) for piece in place.pieces[:1]]
            for number, piece in enumerate(place.pieces):
                found = following.pop().result()
                if number + 1 < len(place.pieces):
                    following.append(fetching.submit(self._read, place.pieces[number + 1]))
                yield piece, found

    def _read(self, piece: Piece) -> list[Batch] | str:
        try:
            return opened(self._storage, self._envelope, piece.name, self._keys)[1]
        except ObjectNotFoundError:
            return "the piece is missing"
        except FormatError as error:
            return str(error)

    def _where(self, piece: Piece) -> str:
        return f"{self._storage.shown}/{key_of(piece.name)}"


def _affected(collection: StoredCollection, piece: Piece) -> str:
    return f"{piece.documents} documents of {collection.namespace} affected"


def _grouped(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    for piece in pieces:
        if group and sum(one.raw_bytes for one in group) + piece.raw_bytes > SEGMENT_BYTES:
            yield group
            group = []
        group.append(piece)
    yield group
