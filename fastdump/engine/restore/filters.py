"""The choice of the collections of a backup that are restored, and of their new names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from fastdump.errors import BackupNotFoundError, UsageError
from fastdump.model import (
    DEFAULT_DATABASE,
    KEEPS_DATABASE,
    NO_OPTIONS,
    Backup,
    LoadOptions,
    Namespace,
    Selection,
    StoredCollection,
)
from fastdump.mongo.authorization import TEMPORARY, Authorization
from fastdump.mongo.catalog import is_selected, is_servers_own
from fastdump.mongo.target import check_databases
from fastdump.patterns import Patterns, Renaming

__all__ = ["Chosen", "Filters", "choose", "choose_under_own_names", "target_of"]

_SHOWN = 10

_CONFIG, _LOCAL = "config", "local"
"""Databases that hold the server's own data, such as its settings and its oplog."""

_HOLDS_DATA = is_selected(Selection(None))
"""Tells the collections of users from the server's own."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The collections of a backup that are wanted, and where they go.

    Patterns are compared with the names in the backup.
    """

    database: str | None = None
    """The database that everything goes to; None is the one that the backup names."""
    collection: str | None = None
    """The new name of the only collection; None is the name that it has."""
    include: Patterns = field(default_factory=lambda: Patterns(()))
    exclude: Patterns = field(default_factory=lambda: Patterns(()))
    renaming: Renaming = field(default_factory=lambda: Renaming((), ()))

    @property
    def change_something(self) -> bool:
        """True if something may be left out or renamed."""
        return bool(self.include or self.exclude or self.renaming.sources)

    def name_database(self, name: str) -> bool:
        """Return whether the user named that database, other than by a pattern for any database."""
        patterns = (*self.include.texts, *self.renaming.sources)
        return self.database == name or any(text.startswith(f"{name}.") for text in patterns)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The collections that are restored."""

    collections: dict[Namespace, StoredCollection]
    """The collections, called as on the target, by their names in the backup."""
    authorization: Authorization | None
    """Users and roles to merge into those of the target, if any are wanted."""
    notes: tuple[str, ...]


def choose(
    backup: Backup, found: Sequence[StoredCollection], filters: Filters, how: LoadOptions
) -> Chosen:
    """Choose and rename collections, and see that no two of them get one name.

    Args:
        backup: the backup.
        found: the collections in it.
        filters: which of them are wanted, and their new names.
        how: how documents are loaded.

    Raises:
        BackupNotFoundError: a pattern matches nothing.
        UsageError: several databases or collections would become one, or a collection would go
            into the database `local`, or into one whose name is too long.
    """
    wanted, notes = _wanted(backup, found, filters)
    wanted, left_out = _without_servers_own(backup, wanted, filters)
    notes += left_out
    kept: dict[Namespace, StoredCollection] = {}
    authorization: list[StoredCollection] = []
    for one in wanted:
        if _authorizes(one.namespace):
            authorization.append(one)
        elif one.name.startswith("$") or is_servers_own(one.name):
            notes.append(f"{backup.path}: {one.name} is not restored")
        else:
            kept[one.namespace] = one
    renamed = dict(_renamed(backup, kept, filters))
    _check_collisions(renamed)
    check_databases({one.namespace.database for one in renamed.values()})
    if authorization and not how.users_and_roles:
        notes.append("the users and roles of the backup are left out: --users-and-roles")
    elif authorization:
        merged = _merged(authorization)
        return Chosen({**renamed, **dict(_temporary(authorization))}, merged, tuple(notes))
    return Chosen(renamed, None, tuple(notes))


def choose_under_own_names(
    backup: Backup, found: Sequence[StoredCollection], filters: Filters
) -> tuple[dict[Namespace, StoredCollection], list[str]]:
    """Choose collections that stay in a backup, all of them with the names of their databases.

    Unlike a restore this keeps what only a server would not take, and users and roles.

    Returns:
        The collections, called as they are to be, by their names in the backup; and notes.

    Raises:
        BackupNotFoundError: a pattern matches nothing.
        UsageError: several collections would become one.
    """
    wanted, notes = _wanted(backup, found, filters)
    renamed = {
        one.namespace: replace(
            one, namespace=filters.renaming.renamed(one.namespace) or one.namespace
        )
        for one in wanted
    }
    _check_collisions(renamed)
    return renamed, notes


def _wanted(
    backup: Backup, found: Sequence[StoredCollection], filters: Filters
) -> tuple[list[StoredCollection], list[str]]:
    """Return the collections that the patterns name, and notes about patterns."""
    if found:  # a backup of an oplog alone does not say which collections that is of
        _check_patterns(backup, found, filters)
    names = [str(one.namespace) for one in found]
    notes = [f"--ns-exclude {text} matches nothing" for text in filters.exclude.unused(names)]
    return [one for one in found if _is_wanted(str(one.namespace), filters)], notes


def _check_patterns(backup: Backup, found: Sequence[StoredCollection], filters: Filters) -> None:
    names = sorted(str(one.namespace) for one in found)
    for option, patterns in (("--ns-include", filters.include), ("--ns-from", filters.renaming)):
        if unused := patterns.unused(names):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise BackupNotFoundError(
                f"{backup.path}: {option} {unused[0]} matches nothing: there are "
                f"{', '.join(names[:_SHOWN])}{more}"
            )


def _is_wanted(name: str, filters: Filters) -> bool:
    included = not filters.include or filters.include.match(name)
    return included and not filters.exclude.match(name)


def _without_servers_own(
    backup: Backup, wanted: Sequence[StoredCollection], filters: Filters
) -> tuple[list[StoredCollection], list[str]]:
    """Leave out the databases that hold a server's own data; return the others, and notes.

    In a layout that holds one database, that database was chosen when the backup was made, and it
    goes into another one.

    Raises:
        UsageError: nothing else is wanted.
    """
    if backup.layout not in KEEPS_DATABASE:
        return list(wanted), []
    left_out = {
        name
        for name in {one.namespace.database for one in wanted} & {_CONFIG, _LOCAL}
        if not filters.name_database(name)
    }
    notes = [
        f"the database {name} of {backup.path} holds a server's own data and is left out"
        + ("; --ns-include 'config.*' restores it" if name == _CONFIG else "")
        for name in sorted(left_out)
    ]
    kept = [one for one in wanted if one.namespace.database not in left_out]
    if notes and not kept:
        raise UsageError(f"there is nothing to restore: {'; '.join(notes)}")
    return kept, notes


def _renamed(
    backup: Backup, kept: dict[Namespace, StoredCollection], filters: Filters
) -> Iterator[tuple[Namespace, StoredCollection]]:
    databases = {one.namespace.database for one in kept.values()}
    keeps = backup.layout in KEEPS_DATABASE
    if keeps and filters.database is not None and len(databases) > 1:
        raise UsageError(
            f"{backup.path} holds {len(databases)} databases: name no target database, or choose "
            "one of them with --ns-include, or rename them with --ns-from and --ns-to"
        )
    if filters.collection is not None and len(kept) != 1:
        raise UsageError(
            f"--target-collection names one collection, and there are {len(kept)} to restore: "
            "choose one with --ns-include, or rename them with --ns-from and --ns-to"
        )
    for namespace, one in kept.items():
        target = _target(backup, namespace, filters)
        name = filters.collection or target.collection
        yield namespace, replace(one, namespace=target._replace(collection=name))


def _target(backup: Backup, namespace: Namespace, filters: Filters) -> Namespace:
    renamed = filters.renaming.renamed(namespace)
    if renamed is not None:
        return renamed
    own = namespace.database if backup.layout in KEEPS_DATABASE else DEFAULT_DATABASE
    return namespace._replace(database=filters.database or own)


def target_of(backup: Backup, namespace: Namespace, filters: Filters) -> Namespace | None:
    """Return the name on the target of a collection that is not in the backup itself.

    Its oplog may name such collections. None means that the collection is not wanted.
    """
    keeps = backup.layout in KEEPS_DATABASE and filters.database is None
    is_of_it = keeps or namespace.database in backup.databases
    if not (is_of_it and _HOLDS_DATA(namespace) and _is_wanted(str(namespace), filters)):
        return None
    return _target(backup, namespace, filters)


def _check_collisions(renamed: dict[Namespace, StoredCollection]) -> None:
    targets = Counter(one.namespace for one in renamed.values())
    for target, count in targets.items():
        if count > 1:
            sources = [str(name) for name, one in renamed.items() if one.namespace == target]
            raise UsageError(f"{' and '.join(sources)} would both become {target}")


def _authorizes(namespace: Namespace) -> bool:
    """Return whether a collection holds users or roles, under the names that mongodump uses."""
    database, name = namespace
    return name.startswith("$admin.system.") or (
        database == "admin" and name in ("system.users", "system.roles", "system.version")
    )


def _merged(found: Sequence[StoredCollection]) -> Authorization:
    databases = {one.namespace.database for one in found}
    if len(databases) > 1:
        raise UsageError(
            f"there are users and roles of {len(databases)} databases: choose one with --ns-include"
        )
    kinds = {_kind(one) for one in found}
    return Authorization(
        databases.pop(), users="system.users" in kinds, roles="system.roles" in kinds
    )


def _temporary(
    found: Sequence[StoredCollection],
) -> Iterator[tuple[Namespace, StoredCollection]]:
    """Yield users and roles, called as the server expects them before they are merged.

    The version of their form, which mongodump keeps beside them, is left out.
    """
    for one in found:
        if (name := TEMPORARY.get(_kind(one))) is not None:
            target = Namespace("admin", name)
            yield (
                one.namespace,
                replace(one, namespace=target, options=NO_OPTIONS, indexes=(), uuid=None),
            )


def _kind(one: StoredCollection) -> str:
    return one.name.removeprefix("$admin.")
