"""The options of loading documents, and the outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fastdump.model.server import ClusterTime, Namespace

__all__ = ["MAX_NAMED", "LoadOptions", "Loaded", "Rejection"]

MAX_NAMED = 10
"""Number of rejected documents that a report names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """The way in which a restore or a copy loads documents."""

    drop: bool = False
    """Drop each collection before it is loaded."""
    indexes: bool = True
    """Build the indexes of a collection when its documents are loaded."""
    keep_index_version: bool = False
    """Build indexes with the version that they had, instead of the one that the server gives."""
    collection_options: bool = True
    """Create collections with the options that they had."""
    preserve_uuid: bool = False
    """Create collections with the UUID that they had."""
    bypass_validation: bool = False
    """Write documents even if the validator of their collection refuses them."""
    in_order: bool = False
    """Load the documents of a collection in the order that they have in the source."""
    stop_on_error: bool = False
    """End at the first document that cannot be written."""
    check_documents: bool = False
    """Decode every document before it is sent, and reject those that are not valid BSON."""
    salvage: bool = False
    """Restore the intact parts of a damaged backup."""
    users_and_roles: bool = False
    """Merge the users and roles of the backup into those of the target."""
    oplog_replay: bool = False
    """Replay the oplog of the backup, so that all documents are of one moment."""
    oplog_limit: ClusterTime | None = None
    """The end of the replay: only entries before this one are applied."""
    oplog_file: Path | None = None
    """The oplog to replay if the backup holds none: a `mongodump` of a server's `oplog.rs`."""
    write_concern: str | None = None
    """A number of servers, `majority`, or a name from the server's configuration. None means the
    write concern of the connection string, or majority if it has none."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A document that could not be written, with the reason."""

    namespace: Namespace
    document: str
    """Its `_id`, or the line of the file that should have held it."""
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The outcome of loading the documents of a segment or a chunk."""

    documents: int
    raw_bytes: int
    seconds: float
    """Time in seconds that a worker was busy with them."""
    inserted: int
    replaced: int
    """Documents that the target held under the same `_id` with other content."""
    unchanged: int
    """Documents that the target held already, byte for byte."""
    rejected: int
    rejections: tuple[Rejection, ...]
    """The first rejected documents, at most `MAX_NAMED`."""
    reasons: Counter[str] = field(default_factory=Counter)
    """The numbers of rejected documents, by reason."""
    interruptions: int = 0
    """Number of times that a server went away meanwhile."""
    without_id: int = 0
    """Number of documents without an `_id`, to which the server gave one."""
    damage: str | None = None
    """The damage of the file, if it could not be read completely."""

    @classmethod
    def total(cls, parts: Iterable[Loaded]) -> Loaded:
        """Return the sums of several. Damage is left out."""
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
