"""Group chunks or segments into jobs: many small ones, or several that wait for a distant server.

A job costs the coordinator and its worker 0.3 ms. That is nothing for a chunk of 32 MB, and more
than the work itself for a collection of twenty documents.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Group", "grouped"]

_GROUP_BYTES = 8 * 1024 * 1024
"""Largest size of the small parts of one job, in bytes of BSON."""

_LARGEST_GROUP = 100
"""Largest number of small parts in one job, so that progress is shown and little is repeated."""

_GROUPS_PER_WORKER = 4
"""Least number of jobs for each worker, if there are so many parts."""


class Sized(Hashable, Protocol):
    """A part of a collection."""

    @property
    def raw_bytes(self) -> int:
        """An estimate of the size of its documents, in bytes of BSON."""


S = TypeVar("S", bound=Sized)
H = TypeVar("H", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Group(Generic[H]):
    """The parts that one worker processes as one job."""

    parts: tuple[H, ...]

    def __str__(self) -> str:
        if len(self.parts) == 1:
            return str(self.parts[0])
        return f"{len(self.parts)} parts from {self.parts[0]} to {self.parts[-1]}"


def grouped(parts: Sequence[S], workers: int, at_once: int) -> list[Group[S]]:
    """Return groups of the parts, in the same order.

    Args:
        parts: the parts.
        workers: the number of processes that share the work.
        at_once: the number of parts that one worker processes at the same time.
    """
    share = math.ceil(len(parts) / max(workers, 1))
    wide = min(at_once, share)
    small = min(_LARGEST_GROUP, math.ceil(share / _GROUPS_PER_WORKER))
    groups: list[list[S]] = []
    raw_bytes = 0
    for part in parts:
        raw_bytes += part.raw_bytes
        fits = groups and (
            len(groups[-1]) < wide or (len(groups[-1]) < small and raw_bytes <= _GROUP_BYTES)
        )
        if not fits:
            groups.append([])
            raw_bytes = part.raw_bytes
        groups[-1].append(part)
    return [Group(tuple(group)) for group in groups]
