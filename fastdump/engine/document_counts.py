"""Comparing how many documents were read of each collection with how many the server counts.

A difference says nothing by itself: others may write meanwhile, and a server's own count may be off
after a crash. So each difference is looked into, the cheapest way first, and only what nothing
explains is said: as a failure where it is certain that documents are missing or doubled.
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
    """Collections of which not as many documents were read as there are, in sentences."""

    notes: list[str] = field(default_factory=list)
    """Those that writes may explain, of which nobody knows."""
    failures: list[str] = field(default_factory=list)
    """Those that nothing explains."""

    @property
    def complaint(self) -> str:
        """What a user should know whose backup would be wrong."""
        return (
            f"the backup would be wrong, so nothing of it is kept: {'; '.join(self.failures)}. The "
            "server, or something before it, does not answer as MongoDB does: leave these out with "
            "--exclude-collection, and please report it"
        )


def overlapping(parts: Iterable[tuple[Namespace, Part]]) -> set[Namespace]:
    """Return the collections of which two parts begin or end with the same `_id`.

    The parts of a collection are disjoint, so one of them was read twice.
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
    """Compare what was read with what the server counts.

    Args:
        session: how it was read, not finished yet.
        catalog: what there was when it was planned.
        read: how many documents were read of each collection.
        doubled: collections of which some documents were read twice, if any too many were read.

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
    """Return whether all documents of a collection of the server's were to be read."""
    is_part = collection.query is not None or collection.read_from is not None
    return bool(collection.has_data and collection.database and not is_part)


def _judge(
    session: Session, collection: Collection, read: int, is_doubled: bool, found: Differences
) -> None:
    name = collection.namespace
    is_settled = session.is_settled(collection)
    if collection.capped and not is_settled:
        return  # a full one holds as many as ever, however much is written to it
    before, after = collection.documents, session.count(collection)
    if _is_explained(read, before, after):
        return
    exact = session.count_all(collection)
    if exact is not None:
        if read == exact:
            return
        # The server's own count is off by the same number all the time.
        before, after = before + exact - after, exact
        if not is_settled and _is_explained(read, before, after):
            return
    if (
        (is_settled and exact is not None)
        or (is_doubled and read > max(before, after))
        # The server deletes what has expired without counting that as a write.
        or (before == after and session.is_unwritten(collection))
    ):
        found.failures.append(f"{name}: {read:,} documents were read, and there are {after:,}")
    else:
        meaning = "some are missing"
        if read > max(before, after):
            meaning = "some are in it twice, which verify --unique finds"
        found.notes.append(
            f"{name}: {read:,} documents are in it, but the server counted {before:,} before and "
            f"{after:,} after: unless others inserted and deleted as many meanwhile, {meaning}"
        )


def _is_explained(read: int, before: int, after: int) -> bool:
    """Return whether writes that changed the count so may have been read half way.

    Where it changed by some, as many more may have come and gone.
    """
    low, high = sorted((before, after))
    return low - (high - low) <= read <= high + (high - low)
