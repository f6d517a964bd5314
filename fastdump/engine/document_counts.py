"""Compare the number of documents read of each collection with the server's count.

A difference alone proves nothing: others may write meanwhile, and a server's own count may be wrong
after a crash. So each difference is examined, with the cheapest check first. One that stays
unexplained is reported: as a failure if documents are certainly missing or doubled, else as a note.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection as Some
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fastdump.engine.sessions.plain import Session
from fastdump.model import Catalog, Collection, Namespace, Part

__all__ = ["Differences", "compare_counts", "overlapping"]


@dataclass(frozen=True, slots=True)
class Differences:
    """Unexplained differences in the number of documents, each as a sentence for the user."""

    notes: list[str] = field(default_factory=list)
    """Differences that unknown writes by others may explain."""
    failures: list[str] = field(default_factory=list)
    """Differences that nothing explains."""

    @property
    def complaint(self) -> str:
        """The message of the error that ends a backup with failures."""
        return (
            f"the backup would be wrong, so it is discarded: {'; '.join(self.failures)}. The "
            "server, or a proxy in front of it, does not answer as MongoDB does: leave these "
            "collections out with --exclude-collection, and please report this"
        )


def overlapping(parts: Iterable[tuple[Namespace, Part]]) -> set[Namespace]:
    """Return the collections in which two parts begin or end with the same `_id`.

    The parts of a collection are disjoint, so documents of such a collection were read twice.
    """
    ends = defaultdict[tuple[Namespace, str], list[bytes]](list)
    for namespace, part in parts:
        if part.first and part.last:
            ends[namespace, "first"].append(part.first)
            ends[namespace, "last"].append(part.last)
    return {name for (name, _end), found in ends.items() if len(found) != len(set(found))}


def compare_counts(
    session: Session,
    catalog: Catalog,
    read: Mapping[Namespace, int],
    doubled: Some[Namespace] = (),
) -> Differences:
    """Compare the numbers of documents read with the server's counts.

    Args:
        session: the session that read them, not finished yet.
        catalog: the collections as they were when the backup was planned.
        read: the number of documents read of each collection.
        doubled: the collections that `overlapping` found; used only if too many were read.

    Raises:
        ServerError: the server cannot be reached or refuses.
    """
    found = Differences()
    for collection in catalog.collections:
        count = read.get(collection.namespace)
        if count is not None and count != collection.documents and _can_be_counted(collection):
            _judge(session, collection, count, collection.namespace in doubled, found)
    return found


def _can_be_counted(collection: Collection) -> bool:
    """Return True if the server can count what was read: whole collections, no views or filters."""
    is_part = collection.query is not None or collection.read_from is not None
    return bool(collection.has_data and collection.database and not is_part)


def _judge(
    session: Session, collection: Collection, read: int, is_doubled: bool, found: Differences
) -> None:
    name = collection.namespace
    is_settled = session.is_settled(collection)
    if collection.capped and not is_settled:
        return  # a full capped collection keeps its count, although writes replace documents
    before, after = collection.documents, session.count(collection)
    if _is_explained(read, before, after):
        return
    exact = session.count_all(collection)
    if exact is not None:
        if read == exact:
            return
        # A wrong count of the server is wrong by the same number before and after.
        before, after = before + exact - after, exact
        if not is_settled and _is_explained(read, before, after):
            return
    if (
        (is_settled and exact is not None)
        or (is_doubled and read > max(before, after))
        # Deleting expired documents is not counted as a write by the server.
        or (before == after and session.is_unwritten(collection))
    ):
        found.failures.append(f"{name}: {read:,} documents were read, and there are {after:,}")
    else:
        meaning = "some are missing"
        if read > max(before, after):
            meaning = "some were read twice, which verify --unique finds"
        found.notes.append(
            f"{name}: {read:,} documents were read, but the server counted {before:,} before and "
            f"{after:,} after: unless others inserted and deleted as many meanwhile, {meaning}"
        )


def _is_explained(read: int, before: int, after: int) -> bool:
    """Return True if writes during the reading can explain the number of documents read.

    If the count changed by n, up to n more documents may have been inserted or deleted meanwhile.
    """
    low, high = sorted((before, after))
    return low - (high - low) <= read <= high + (high - low)
