"""Report of `status`."""

from __future__ import annotations

from dataclasses import dataclass

from fastdump.model import Backup, Namespace, Run, StoredCollection

__all__ = ["Growth", "StatusReport"]


@dataclass(frozen=True, slots=True)
class Growth:
    """A collection in the newest backup and in the one before it; None where it is not known."""

    namespace: Namespace
    documents: int | None
    raw_bytes: int | None
    documents_before: int | None
    raw_bytes_before: int | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Report of how things are in a place of backups."""

    backups: tuple[Backup, ...]
    """The backups of the place, oldest first."""
    newest: Backup | None
    latest: tuple[StoredCollection, ...]
    """The collections beside the backups, of which there is only the latest copy."""
    made: Run | None
    """The run that made the newest backup, if the journal knows it."""
    verified: Run | None
    """The last verification that succeeded."""
    drilled: Run | None
    """The last restore for a test that succeeded."""
    runs: tuple[Run, ...]
    """The journal, oldest first."""
    growth: tuple[Growth, ...]
    """The collections of the newest backup, largest first."""
    problems: tuple[str, ...]
    """Sentences about what is not as it should be."""

    @property
    def failures(self) -> tuple[Run, ...]:
        """Runs that failed, oldest first."""
        return tuple(run for run in self.runs if not run.ok)

    @property
    def well(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems
