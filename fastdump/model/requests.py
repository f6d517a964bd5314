"""Values in which the Python API takes what belongs together, instead of many arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path

from fastdump.model.compression import DEFAULT_COMPRESSION, Compression
from fastdump.model.names import (
    DEFAULT_LATEST_ONLY,
    DEFAULT_RETRY_SECONDS,
    LAYOUTS,
)

__all__ = [
    "NO_KEYS",
    "PASSPHRASE",
    "PERIODS",
    "CollectionFilter",
    "Keys",
    "NamespaceFilter",
    "Retention",
    "Server",
    "WriteOptions",
]

PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")
"""The rules of `Retention` that keep one backup of each period, shortest first."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server, where its URI alone does not say everything."""

    uri: str = field(repr=False)
    """As `mongodb://host:port/database`."""
    username: str | None = None
    """The user, if the URI names none."""
    password: str | None = field(default=None, repr=False)
    """The password of that user."""
    read_preference: str | None = None
    """A mode, or a JSON object with mode, tagSets and maxStalenessSeconds; by default that of the
    URI."""
    retry_seconds: float = DEFAULT_RETRY_SECONDS
    """Time in seconds to try again when the server goes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionFilter:
    """The collections of a database that are read, and the documents of them."""

    include: Sequence[str] = ()
    """Patterns of the names of collections that are wanted; none means all."""
    exclude: Sequence[str] = ()
    """Patterns of the names of collections that are not wanted."""
    query: str | None = None
    """A filter for the documents of the only collection, in Extended JSON."""
    views_as_collections: bool = False
    """Read only views, as collections with the documents that they show."""
    users_and_roles: bool = False
    """Read the users and roles of the database too, or those of all databases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFilter:
    """The collections of a backup to restore, as `database.collection`, and their new names."""

    include: Sequence[str] = ()
    """Patterns of the namespaces that are wanted; none means all."""
    exclude: Sequence[str] = ()
    """Patterns of the namespaces that are not wanted."""
    rename: Sequence[tuple[str, str]] = ()
    """Pairs of patterns: from, to."""


PASSPHRASE = "passphrase"  # noqa: S105 - a word
"""The word that stands for a passphrase among the recipients of an encrypted repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The keys of an encrypted repository, in the format of age."""

    recipients: Sequence[str] = ()
    """For whom a new repository is encrypted: public keys, as `age1…`, or the word `passphrase`. If
    the repository is there, it must be encrypted for just these."""
    identities: Sequence[str] = field(default=(), repr=False)
    """Secret keys, as `AGE-SECRET-KEY-1…`, any of which may open it."""
    passphrase: str | None = field(default=None, repr=False)
    """A passphrase, instead of identities."""
    ask: Callable[[bool], str] | None = field(default=None, repr=False)
    """Asks for a passphrase that is missing; with True, for a new one."""


NO_KEYS = Keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """The form in which a backup is written, and where."""

    layout: str = LAYOUTS[0]
    """`komodo`; `komodo-json`, which Komodo's restore reads; `mongodump` or `archive`, which
    mongorestore reads; `repository`, in which backups share pieces, and the only one for an object
    store."""
    out: str | Path | None = None
    """The place of this one backup, instead of a dated folder in the backups folder; an archive's
    file, or `-` for standard output. Nothing is pruned then."""
    compression: Compression = DEFAULT_COMPRESSION
    """gzip; for the layouts `mongodump` and `archive` also `none`, for `repository` also `zstd`."""
    mode: int = 0o600
    """Permissions of the files."""
    keys: Keys = NO_KEYS
    """For whom a repository is encrypted. What reads it is not needed to write."""
    latest_only: Sequence[str] = DEFAULT_LATEST_ONLY
    """Names of the collections of which only the latest copy is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The rules by which backups stay. One that any rule keeps stays; without rules, all stay.

    The numbers count periods that have a backup: with `daily=7`, the newest backup of each of the
    last seven days on which there was one.
    """

    last: int = 0
    """Number of newest backups to keep."""
    within: timedelta | None = None
    """Time before the newest backup in which all are kept."""
    hourly: int = 0
    """Number of hours of which to keep a backup."""
    daily: int = 0
    """Number of days."""
    weekly: int = 0
    """Number of weeks, from Monday."""
    monthly: int = 0
    """Number of months."""
    yearly: int = 0
    """Number of years."""

    @property
    def limits(self) -> bool:
        """True if there is a rule, so that old backups are removed."""
        return any(getattr(self, rule.name) for rule in fields(self))
