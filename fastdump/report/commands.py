"""Reports of the commands that read and write backups."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Mapping
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
    "ConvertReport",
    "CopyReport",
    "DrillReport",
    "LoadReport",
    "Problem",
    "PruneReport",
    "RekeyReport",
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
        """Size of the documents in bytes of BSON."""

    @property
    def seconds(self) -> float:
        """Time that the worker spent on it, in seconds."""


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """Numbers of one collection: a line of the summary."""

    namespace: Namespace
    kind: CollectionKind
    documents: int
    """Number of documents."""
    raw_bytes: int
    """Size of the documents in bytes of BSON."""
    file_bytes: int
    """Size of the collection's file in bytes."""
    seconds: float
    """Time that workers spent on it in seconds, summed over the workers."""

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
            kind: the kind of the collection.
            done: the workers' reports of its parts.
            file_bytes: the size of its file in bytes.
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
    """Base of reports with sums over their collections."""

    __slots__ = ()

    collections: tuple[CollectionReport, ...]

    @property
    def documents(self) -> int:
        """The number of documents."""
        return sum(collection.documents for collection in self.collections)

    @property
    def raw_bytes(self) -> int:
        """The size of the documents in bytes of BSON."""
        return sum(collection.raw_bytes for collection in self.collections)

    @property
    def file_bytes(self) -> int:
        """The size of the files in bytes."""
        return sum(collection.file_bytes for collection in self.collections)


@dataclass(frozen=True, slots=True)
class BackupReport(_Totals):
    """Report of a backup."""

    name: str
    path: Location
    databases: tuple[str, ...]
    """Names of the databases that were backed up."""
    server: ServerInfo
    consistency: Consistency
    workers: int
    """Number of worker processes; 0 if the coordinator did the work."""
    seconds: float
    """Elapsed time in seconds."""
    collections: tuple[CollectionReport, ...]
    pruned: tuple[str, ...]
    """Names of old backups that were removed."""
    oplog: CollectionReport | None = None
    """Operations during the backup, if they are stored."""
    notes: tuple[str, ...] = ()
    """Sentences for the user, such as losses that the layout causes."""
    interruptions: int = 0
    """Number of times that the server went away and reading went on."""
    new_bytes: int | None = None
    """Number of bytes written into a repository, which had the rest already; None elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport(_Totals):
    """Report of loading documents into a database."""

    databases: tuple[str, ...]
    """Names of the databases that were written."""
    workers: int
    """Number of worker processes; 0 if the coordinator did the work."""
    seconds: float
    """Elapsed time in seconds."""
    collections: tuple[CollectionReport, ...]
    inserted: int
    """Number of documents that were inserted."""
    replaced: int
    """Number of documents that replaced another one with the same `_id`."""
    unchanged: int
    """Number of documents that the target already had exactly."""
    indexes: int
    """Number of indexes of the source that the target now has."""
    rejected: int
    """Number of documents that could not be written."""
    rejections: tuple[Rejection, ...]
    """First few of the documents that could not be written."""
    reasons: tuple[tuple[str, int], ...]
    """Reasons for rejected documents, each with the number of documents."""
    failures: tuple[str, ...]
    """Other failures: an index that cannot be built, a file that is damaged."""
    operations: int = 0
    """Number of oplog operations that were replayed."""
    interruptions: int = 0
    """Number of lost connections after which loading continued."""
    notes: tuple[str, ...] = ()
    """Sentences for the user."""

    @property
    def complete(self) -> bool:
        """True if the target now has everything that the source has."""
        return not self.rejected and not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport(LoadReport):
    """Report of a restore."""

    name: str
    path: Location
    consistency: Consistency | None
    """Consistency of the restored documents; None if it is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport(LoadReport):
    """Report of a copy."""

    server: ServerInfo
    """Server that was read."""
    source: str
    """Database that was read."""
    consistency: Consistency


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage in a file of a backup."""

    path: Location
    message: str


@dataclass(frozen=True, slots=True)
class VerifyReport(_Totals):
    """Report of a verification."""

    name: str
    path: Location
    seconds: float
    collections: tuple[CollectionReport, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    share: float = 1
    """The share of the documents that was wanted to be read, at most 1; the reports of collections
    are of those that were read."""

    @property
    def intact(self) -> bool:
        """True if everything that was read is as it was written."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of a collection in a backup with the one in a database."""

    namespace: Namespace
    """Name of the collection in the database."""
    in_backup: int | None
    """Number of documents in the backup; None if unknown."""
    in_database: int | None
    """Number of documents in the database; None if there is no such collection."""
    different: int = 0
    """Number of documents with the same `_id` and other content."""
    missing: int = 0
    """Number of documents of the backup that are not in the database."""
    additional: int = 0
    """Number of documents of the database that are not in the backup."""
    examples: tuple[str, ...] = ()
    """First few of the documents that are different or missing."""

    @property
    def equal(self) -> bool:
        """True if no difference was found."""
        if self.different or self.missing or self.additional or self.in_database is None:
            return False
        return self.in_backup in (None, self.in_database)


@dataclass(frozen=True, slots=True)
class AgainstReport:
    """Report of a comparison of a backup with a database."""

    name: str
    path: Location
    seconds: float
    collections: tuple[Comparison, ...]
    deep: bool
    """True if documents were compared, and not only counted."""

    @property
    def equal(self) -> bool:
        """True if no difference was found."""
        return all(found.equal for found in self.collections)


@dataclass(frozen=True, slots=True)
class ConvertReport(_Totals):
    """Report of a conversion."""

    source: Location
    """The backup that was read."""
    name: str
    path: Location
    """The place of the new backup."""
    workers: int
    """Number of worker processes; 0 if the coordinator did the work."""
    seconds: float
    collections: tuple[CollectionReport, ...]
    notes: tuple[str, ...] = ()
    """Sentences that the user should know."""


@dataclass(frozen=True, slots=True)
class PruneReport:
    """Report of pruning."""

    removed: tuple[str, ...]
    """Names of the removed backups, oldest first."""
    kept: tuple[str, ...]
    """Names of the remaining backups, oldest first."""
    reasons: Mapping[str, tuple[str, ...]]
    """The rules that keep each of them, such as `last` and `daily`, by name."""
    notes: tuple[str, ...] = ()
    """Sentences that the user should know."""
    freed_bytes: int | None = None
    """Size of the pieces that no backup of a repository needed any more; None elsewhere."""


@dataclass(frozen=True, slots=True)
class RekeyReport:
    """Report of encrypting a repository for others."""

    recipients: tuple[str, ...]
    """The public keys for which everything new is encrypted."""
    backups: int
    """Number of older backups that were encrypted again."""
    file_bytes: int
    """Size of the pieces that were encrypted again."""
    left: int
    """Number of backups that stay encrypted for the former recipients."""
    failures: tuple[str, ...]
    """Messages about pieces and manifests that could not be encrypted again."""
    seconds: float

    @property
    def complete(self) -> bool:
        """True if everything is encrypted for the new recipients."""
        return not self.left


@dataclass(frozen=True, slots=True)
class DrillReport:
    """Report of a restore for a test."""

    restored: RestoreReport
    compared: AgainstReport
    seconds: float

    @property
    def passed(self) -> bool:
        """True if every document, index and option of the backup was there after the restore."""
        return self.restored.complete and self.compared.equal
