"""Reading an archive of mongodump's, once, from a file or a stream; see `codec.archive`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from fastdump.codec import archive, gzip
from fastdump.codec.archive import Block, Described, End
from fastdump.errors import BackupNotFoundError, FormatError
from fastdump.model import (
    OPLOG,
    Backup,
    CollectionKind,
    StoredCollection,
)
from fastdump.report import Problem
from fastdump.store import metadata
from fastdump.store.base import STREAM, disk
from fastdump.store.reading import damaged

__all__ = ["Archive"]


class Archive:
    """An archive to read, once.

    Args:
        path: of the file; `-` for standard input.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._file = self._opened(path)
        start = self._file.peek(len(archive.MAGIC))  # type: ignore[attr-defined]
        self._compressed = start[:2] == gzip.MAGIC[:2]
        pieces = gzip.inflated(self._file) if self._compressed else _pieces(self._file)
        self._reader = archive.Reader(pieces)

    @classmethod
    def recognised(cls, path: Path) -> bool:
        """Whether that is a file that begins as an archive does.

        Raises:
            StorageError: it cannot be read.
        """
        with disk(path), path.open("rb") as file:
            start = file.read(len(archive.MAGIC))
            if start[:2] == gzip.MAGIC[:2]:
                file.seek(0)
                try:
                    start = next(gzip.inflated(file), b"")[: len(archive.MAGIC)]
                except FormatError:
                    return False
            return start == archive.MAGIC

    def find(self, name: str | None) -> Backup:  # noqa: ARG002 - there is only one
        """The archive as a backup, whose files nobody can look at before they come.

        Raises:
            BackupDamagedError: this is no archive, or its head is damaged.
            StorageError: it cannot be read.
        """
        with disk(self.path), damaged(self.path):
            prelude = self._reader.prelude()
            collections = tuple(self._collections(prelude.collections))
        return Backup(
            name="of standard input" if str(self.path) == STREAM else self.path.name,
            path=self.path,
            taken=datetime.now(),
            made=datetime.now(UTC),
            collections=collections,
            has_manifest=True,
            layout="archive",
            databases=tuple(sorted({found.database for found in collections} - {""})),
            oplog=next((found for found in collections if found.namespace == OPLOG), None),
            server_version=prelude.server_version,
        )

    def contents(self, backup: Backup) -> tuple[list[StoredCollection], list[str]]:
        """What a restore of it brings back, and what the user should know of it."""
        return [found for found in backup.collections if found.namespace != OPLOG], []

    def problems(self, backup: Backup) -> list[Problem]:  # noqa: ARG002
        """None that anybody could know: what mongodump writes makes no promises."""
        return []

    @property
    def raw_bytes(self) -> int:
        """A guess at how much it holds; 0 for a stream, of which nothing is known."""
        if str(self.path) == STREAM:
            return 0
        size = self.path.stat().st_size
        return size * gzip.USUAL_RATIO if self._compressed else size

    def blocks(self, backup: Backup) -> Iterator[Block | End]:
        """All documents, and the end of each namespace: what holds the data, not what is described.

        Raises:
            BackupDamagedError: the archive is cut or damaged; what came before was yielded.
            StorageError: it cannot be read.
        """
        known = [found.data for found in backup.collections]
        with disk(self.path), damaged(self.path):
            yield from self._reader.blocks(known)

    def _collections(self, described: Iterable[Described]) -> Iterator[StoredCollection]:
        for namespace, text, kind, exact in described:
            found = metadata.read(text)
            options, *indexes = exact or (found.options, *found.indexes)
            yield StoredCollection(
                name=namespace.collection,
                kind=CollectionKind.TIMESERIES if kind == "timeseries" else found.kind,
                path=None,
                file_bytes=0,
                options=options,
                indexes=tuple(indexes),
                database=namespace.database,
                uuid=found.uuid,
            )

    def _opened(self, path: str) -> BinaryIO:
        if path == STREAM:
            return sys.stdin.buffer
        if not self.path.is_file():
            raise BackupNotFoundError(f"{path}: there is no such file")
        with disk(self.path):
            return self.path.open("rb")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(gzip.STREAM_BYTES):
        yield piece
