"""Replaying an oplog over a target when its documents are loaded."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastdump.engine.load.worker import Operations, Target
from fastdump.model import ClusterTime, Definition, Namespace, Selection
from fastdump.mongo.catalog import read_definitions
from fastdump.mongo.client import Client, connect, translated
from fastdump.mongo.replay import Replay
from fastdump.mongo.retry import retrying

__all__ = ["Replayed", "replay"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of replaying an oplog."""

    definitions: Sequence[Definition]
    """The collections that are there at its end, with the indexes that they should have."""
    operations: int
    """Number of operations that were applied."""
    reached: ClusterTime | None
    """The last entry that was looked at."""
    failures: Sequence[str]
    """Operations that could not be replayed, in sentences."""


def replay(
    target: Target,
    operations: Operations,
    definitions: Mapping[Namespace, Definition],
    blocked: Some[Namespace],
) -> Replayed:
    """Replay an oplog, without building indexes.

    Args:
        target: where documents went.
        operations: the oplog.
        definitions: the collections that were to be loaded, by their names on the target.
        blocked: those of them that were left alone.

    Raises:
        BackupDamagedError: an entry is not what an oplog holds.
        ServerError: the target cannot be reached or refuses, or an entry cannot be replayed.
    """
    connection = target.connection

    def name_of(source: Namespace) -> Namespace | None:
        name = operations.name_of(source)
        return None if name in blocked else name

    with connect(connection) as client, translated(connection):
        beside = _beside(client, target, definitions) if operations.is_of_another else []
        loaded = [one for name, one in definitions.items() if name not in blocked]
        run = Replay(
            client,
            connection,
            name_of,
            [*loaded, *beside],
            keeps=operations.is_of_another,
            concern=target.concern(client),
            limit=operations.limit,
        )
        for batch in operations.batches():
            if not run.apply(batch):
                break
        # The collections beside them have their indexes, unless the oplog has changed those.
        found = [one for one in run.end() if one not in beside]
    failures = (
        f"{name}: {count:,} operations of the oplog could not be replayed, since the target holds "
        "no such collection"
        for name, count in run.missing.items()
        if operations.is_of_another
    )
    return Replayed(found, run.operations, run.reached, tuple(failures))


def _beside(
    client: Client, target: Target, definitions: Mapping[Namespace, Definition]
) -> list[Definition]:
    """Return the collections of the target that were not loaded."""
    present = retrying(target.connection)(read_definitions, client, Selection(None))
    return [one for one in present if one.namespace not in definitions]
