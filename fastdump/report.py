"""What the commands report: what the Python API returns and the command line prints."""

from __future__ import annotations

from collections.abc import Collection as Some
from dataclasses import dataclass
from typing import Protocol

from fastdump.model import (
    CollectionKind,
    Consistency,
    Location,
    Namespace,
    Part,
    Rejection,
    ServerInfo,
)

__all__ = [
    "AgainstReport",
    "BackupReport",
    "CollectionReport",
    "Comparison",
    "CopyReport",
    "LoadReport",
    "Problem",
    "PruneReport",
    "RestoreReport",
    "VerifyReport",
    "Work",
]


class Work(Protocol):
    """The work on a part of a collection, as a worker reports it."""

    @property
    def documents(self) -> int:
        """Number of documents."""

    @property
    def raw_bytes(self) -> int:
        """Size of the documents as BSON."""

    @property
    def seconds(self) -> float:
        """How long the worker was busy with it."""


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """One line of a summary."""

    namespace: Namespace
    kind: CollectionKind
    documents: int
    raw_bytes: int
    file_bytes: int
    """Size of its file."""
    seconds: float
    """How long workers were busy with it, summed over the workers."""

    @property
    def name(self) -> str:
        """The collection's name in its database."""
        return self.namespace.collection

    @classmethod
    def of(
        cls, namespace: Namespace, kind: CollectionKind, done: Some[Work], file_bytes: int
    ) -> CollectionReport:
        """Return the sums over the parts of a collection.

        Args:
            namespace: the collection.
            kind: its kind.
            done: what workers report of its parts.
            file_bytes: size of its file.
        """
        return cls(
            namespace,
            kind,
            sum(one.documents for one in done),
            sum(one.raw_bytes for one in done),
            file_bytes,
            sum(one.seconds for one in done),
        )

    @classmethod
    def of_written(
        cls, namespace: Namespace, kind: CollectionKind, parts: Some[Part]
    ) -> CollectionReport:
        """Return the sums over the parts of a collection that were written."""
        return cls.of(namespace, kind, parts, sum(part.file_bytes for part in parts))


class _Totals:
    """Sums over the collections of a report."""

    __slots__ = ()

    collections: tuple[CollectionReport, ...]

    @property
    def documents(self) -> int:
        """Number of documents."""
        return sum(collection.documents for collection in self.collections)

    @property
    def raw_bytes(self) -> int:
        """Size of the documents as BSON."""
        return sum(collection.raw_bytes for collection in self.collections)

    @property
    def file_bytes(self) -> int:
        """Size of the files."""
        return sum(collection.file_bytes for collection in self.collections)


@dataclass(frozen=True, slots=True)
class BackupReport(_Totals):
    """What a backup did."""

    name: str
    path: Location
    databases: tuple[str, ...]
    """Those that were backed up."""
    server: ServerInfo
    consistency: Consistency
    workers: int
    seconds: float
    collections: tuple[CollectionReport, ...]
    pruned: tuple[str, ...]
    """The names of old backups that were removed."""
    oplog: CollectionReport | None = None
    """The operations that happened meanwhile, where they are kept."""
    notes: tuple[str, ...] = ()
    """What the user should know of it, such as what the layout cannot carry."""
    interruptions: int = 0
    """How often the server went away, and reading went on."""
    new_bytes: int | None = None
    """How much was written into a repository, which had the rest already; None elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport(_Totals):
    """What loading documents into a database did."""

    databases: tuple[str, ...]
    """Those that were written."""
    workers: int
    seconds: float
    collections: tuple[CollectionReport, ...]
    inserted: int
    replaced: int
    unchanged: int
    indexes: int
    """Indexes of the source that the target now has."""
    rejected: int
    rejections: tuple[Rejection, ...]
    """The first of the documents that could not be written."""
    reasons: tuple[tuple[str, int], ...]
    """Why they could not be, and how many for each reason."""
    failures: tuple[str, ...]
    """What else could not be done: an index that cannot be built, a file that is damaged."""
    operations: int = 0
    """How many of the oplog were replayed."""
    interruptions: int = 0
    """How often a server went away, and loading went on."""
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the target now holds everything that the source holds."""
        return not self.rejected and not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport(LoadReport):
    """What a restore did."""

    name: str
    path: Location
    consistency: Consistency | None
    """How what was restored relates in time; None where nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport(LoadReport):
    """What a copy did."""

    server: ServerInfo
    """Where it was read."""
    source: str
    """The database that was read."""
    consistency: Consistency


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage that was found in a file of a backup."""

    path: Location
    message: str


@dataclass(frozen=True, slots=True)
class VerifyReport(_Totals):
    """What a verification read and found."""

    name: str
    path: Location
    seconds: float
    collections: tuple[CollectionReport, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether everything is as it was written."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Comparison:
    """A collection of a backup beside that of a database."""

    namespace: Namespace
    """Its name in the database."""
    in_backup: int | None
    """How many documents the backup has; None where it does not say."""
    in_database: int | None
    """How many the database has; None where there is no such collection."""
    different: int = 0
    missing: int = 0
    """Documents of the backup that the database has not."""
    additional: int = 0
    """Documents of the database that the backup has not."""
    examples: tuple[str, ...] = ()
    """The first few of those that are different or missing."""

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        if self.different or self.missing or self.additional or self.in_database is None:
            return False
        return self.in_backup in (None, self.in_database)


@dataclass(frozen=True, slots=True)
class AgainstReport:
    """What a comparison of a backup with a database found."""

    name: str
    path: Location
    seconds: float
    collections: tuple[Comparison, ...]
    deep: bool
    """Whether documents were compared, and not only counted."""

    @property
    def equal(self) -> bool:
        """Whether no difference was found."""
        return all(found.equal for found in self.collections)


@dataclass(frozen=True, slots=True)
class PruneReport:
    """Which backups were removed, oldest first, and which remain."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What the user should know of it."""
    freed_bytes: int | None = None
    """Size of the pieces that no backup of a repository needed any more; None elsewhere."""
