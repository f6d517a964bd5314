"""Making the collections and views of a target, and merging users and roles into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastdump.engine.load.inspection import in_the_way
from fastdump.engine.load.worker import Target
from fastdump.model import CollectionKind, Definition, Namespace
from fastdump.mongo import authorization, schema
from fastdump.mongo.client import Client, connect, translated
from fastdump.mongo.retry import retrying
from fastdump.mongo.round_trip import ask_each, requests_under_way
from fastdump.mongo.target import too_long

__all__ = ["TargetCollections", "merge_authorization"]

_CREATORS = 4
"""Number of collections to create at the same time on a near server, which makes files for each."""


class TargetCollections:
    """The collections of a target that documents are loaded into.

    Args:
        target: where documents go.
        definitions: the collections and views, by their names on the target.
        failures: gets sentences about what could not be made.
        notes: gets sentences that the user should know.
    """

    def __init__(
        self,
        target: Target,
        definitions: Mapping[Namespace, Definition],
        failures: list[str],
        notes: list[str],
    ) -> None:
        self._target = target
        self._failures = failures
        self._notes = notes
        too_long_names = {
            name: reason for name, one in definitions.items() if (reason := too_long(one))
        }
        failures += too_long_names.values()
        self._definitions = [one for name, one in definitions.items() if name not in too_long_names]
        self._created: dict[Namespace, schema.Created] = {}
        self.blocked = set(too_long_names)
        """Collections that are not filled: they could not be made, or another kind is there."""
        self.fresh: set[Namespace] = set()
        """The collections with data that were empty before; for a time series, its buckets."""

    @property
    def created(self) -> frozenset[Namespace]:
        """The collections and views that did not exist before."""
        return frozenset(self._created)

    def create(self) -> None:
        """Make the collections, after dropping them if that is wanted.

        Raises:
            ServerError: the target cannot be reached or refuses.
        """
        self._repeatedly(self._clear)
        self._repeatedly(lambda client: self._make(client, views=False))

    def create_views(self) -> None:
        """Make the views, when the collections that they look at are there.

        Raises:
            ServerError: the target cannot be reached or refuses.
        """
        if any(one.kind is CollectionKind.VIEW for one in self._definitions):
            self._repeatedly(lambda client: self._make(client, views=True))

    def _repeatedly(self, work: Callable[[Client], None]) -> None:
        """Do something that may be repeated, since the server may go away meanwhile."""
        connection = self._target.connection
        with connect(connection) as client, translated(connection):
            retrying(connection)(work, client)

    def _clear(self, client: Client) -> None:
        concern = self._target.concern(client)
        if self._target.authorization is not None:
            authorization.clear(client, concern)
        if self._target.how.drop:
            for one in self._definitions:
                schema.drop(client, one.namespace, concern)

    def _make(self, client: Client, *, views: bool) -> None:
        wanted = [one for one in self._definitions if (one.kind is CollectionKind.VIEW) is views]
        databases = {one.namespace.database for one in wanted}
        present = schema.existing(client, databases)
        failures = []
        missing, held = [], []
        for one in wanted:
            found = present.get(one.namespace)
            if one.namespace in self._created:
                continue  # by an attempt before this one
            if found is None:
                missing.append(one)
            elif found.kind is not one.kind:
                failures.append(in_the_way(one, found))
                self.blocked.add(one.namespace)
            elif not views:
                held.append(one)
        # Views are made one by one: each is a document in one collection, `system.views`.
        self._create_all(
            client, missing, 1 if views else max(_CREATORS, requests_under_way(client))
        )
        counts = ask_each(client, lambda one: schema.count(client, one.data), held)
        self.fresh |= {one.data for one, count in zip(held, counts, strict=True) if not count}
        present = schema.existing(client, databases)
        for one in wanted:
            if one.namespace in self._created:
                self._compare(present.get(one.namespace), one)
        self._failures += failures

    def _create_all(self, client: Client, missing: Sequence[Definition], at_once: int) -> None:
        concern = self._target.concern(client)

        def create(one: Definition) -> None:
            self._created[one.namespace] = schema.create(client, one, self._target.how, concern)
            self.fresh.add(one.data)

        with ThreadPoolExecutor(at_once, "fastdump-create") as threads:
            list(threads.map(create, missing))

    def _compare(self, present: schema.Present | None, definition: Definition) -> None:
        """Compare what the server made with what was asked for."""
        created = schema.compare(
            present, definition, self._created[definition.namespace], self._target.how
        )
        self._failures += created.failures
        if created.left_out:
            self._notes.append(
                f"{definition.namespace}: {', '.join(created.left_out)} means nothing any more, "
                "and was left out"
            )
        if not created.is_there:
            self.blocked.add(definition.namespace)


def merge_authorization(target: Target) -> None:
    """Merge the users and roles that were loaded into those of the target, if there are any.

    Raises:
        ServerError: the target cannot be reached or refuses.
    """
    if target.authorization is None:
        return
    with connect(target.connection) as client, translated(target.connection):
        concern = target.concern(client)
        try:
            authorization.merge(
                client, target.authorization, replace=target.how.drop, concern=concern
            )
        finally:
            authorization.clear(client, concern)
