"""How documents are loaded, and what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fastdump.model.server import ClusterTime, Namespace

__all__ = ["MAX_NAMED", "LoadOptions", "Loaded", "Rejection"]

MAX_NAMED = 10
"""How many rejected documents a report names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What the user wants of a restore or a copy."""

    drop: bool = False
    """Drop each collection first."""
    indexes: bool = True
    """Build a collection's indexes when its documents are in."""
    keep_index_version: bool = False
    """With the version that they had, instead of that which the server gives new ones."""
    collection_options: bool = True
    """Make collections with the options that they had."""
    preserve_uuid: bool = False
    """Make collections with the UUID that they had."""
    bypass_validation: bool = False
    """Write documents that a collection's validator refuses."""
    in_order: bool = False
    """Load a collection's documents in the order in which they were kept."""
    stop_on_error: bool = False
    """End with the first document that cannot be written."""
    check_documents: bool = False
    """Decode every document, to see that it is one, before it is sent."""
    salvage: bool = False
    """Restore what is intact of a backup that is damaged."""
    users_and_roles: bool = False
    """Merge the users and roles that the backup holds into those of the target."""
    oplog_replay: bool = False
    """Replay what happened while the backup was made, so that all of it is of one moment."""
    oplog_limit: ClusterTime | None = None
    """But only what happened before that."""
    oplog_file: Path | None = None
    """The oplog to replay, where the backup holds none: `mongodump` of a server's `oplog.rs`."""
    write_concern: str | None = None
    """A number of servers, `majority`, or a name of the server's configuration; None is that of
    the connection string, else majority."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A document that could not be written, and why."""

    namespace: Namespace
    document: str
    """Its `_id`, or the line of the file where it should have been."""
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the documents of a segment or a chunk."""

    documents: int
    raw_bytes: int
    seconds: float
    """How long a worker was busy with it."""
    inserted: int
    replaced: int
    """Documents that the target held under the same `_id` with other content."""
    unchanged: int
    """Documents that the target held already, byte for byte."""
    rejected: int
    rejections: tuple[Rejection, ...]
    """The first few of them."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why, and how many for each reason."""
    interruptions: int = 0
    """How often a server went away meanwhile."""
    without_id: int = 0
    """How many of the documents have no `_id`, so that the server gave them one."""
    damage: str | None = None
    """Why the file could not be read to its end."""

    @classmethod
    def total(cls, parts: Iterable[Loaded]) -> Loaded:
        """Return the sums of several, but for what is said of damage."""
        parts = list(parts)
        rejections = [rejection for one in parts for rejection in one.rejections]
        return cls(
            documents=sum(one.documents for one in parts),
            raw_bytes=sum(one.raw_bytes for one in parts),
            seconds=sum(one.seconds for one in parts),
            inserted=sum(one.inserted for one in parts),
            replaced=sum(one.replaced for one in parts),
            unchanged=sum(one.unchanged for one in parts),
            rejected=sum(one.rejected for one in parts),
            rejections=tuple(rejections[:MAX_NAMED]),
            reasons=sum((one.reasons for one in parts), Counter[str]()),
            interruptions=sum(one.interruptions for one in parts),
            without_id=sum(one.without_id for one in parts),
        )
