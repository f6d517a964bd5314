"""Which collections of a backup are restored, and what they are called on the target."""

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
from fastdump.patterns import Patterns, Renaming

__all__ = ["Chosen", "Filters", "choose", "target_of"]

_SHOWN = 10

_HOLDS_DATA = is_selected(Selection(None))
"""Whether a collection is the user's, and not the server's own."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What of a backup is wanted, by the names that it has there, and where it goes."""

    database: str | None = None
    """The database that everything goes to; None is that which the backup says."""
    collection: str | None = None
    """What the only collection is to be called; None is what the backup says."""
    include: Patterns = field(default_factory=lambda: Patterns(()))
    exclude: Patterns = field(default_factory=lambda: Patterns(()))
    renaming: Renaming = field(default_factory=lambda: Renaming((), ()))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is restored."""

    collections: dict[Namespace, StoredCollection]
    """By their names in the backup, called as on the target."""
    authorization: Authorization | None
    """The users and roles among them, which are merged into those of the target."""
    notes: tuple[str, ...]


def choose(
    backup: Backup, found: Sequence[StoredCollection], filters: Filters, how: LoadOptions
) -> Chosen:
    """Choose, rename, and see that nothing collides.

    Raises:
        BackupNotFoundError: a pattern matches nothing.
        UsageError: several databases or collections would become one.
    """
    if found:  # of an oplog alone, nobody knows what it is of
        _check_patterns(backup, found, filters)
    names = [str(one.namespace) for one in found]
    notes = [f"--ns-exclude {text} matches nothing" for text in filters.exclude.unused(names)]
    wanted = [one for one in found if _is_wanted(str(one.namespace), filters)]
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
    if authorization and not how.users_and_roles:
        notes.append("the users and roles of the backup are left out: --users-and-roles")
    elif authorization:
        merged = _merged(authorization)
        return Chosen({**renamed, **dict(_temporary(authorization))}, merged, tuple(notes))
    return Chosen(renamed, None, tuple(notes))


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


def _renamed(
    backup: Backup, kept: dict[Namespace, StoredCollection], filters: Filters
) -> Iterator[tuple[Namespace, StoredCollection]]:
    databases = {one.database for one in kept.values()}
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
        yield namespace, replace(one, database=target.database, name=name)


def _target(backup: Backup, namespace: Namespace, filters: Filters) -> Namespace:
    renamed = filters.renaming.renamed(namespace)
    if renamed is not None:
        return renamed
    own = namespace.database if backup.layout in KEEPS_DATABASE else DEFAULT_DATABASE
    return namespace._replace(database=filters.database or own)


def target_of(backup: Backup, namespace: Namespace, filters: Filters) -> Namespace | None:
    """What a collection that the backup does not have is called there; None for an unwanted one."""
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
    """Whether that holds users or roles, as mongodump calls it."""
    database, name = namespace
    return name.startswith("$admin.system.") or (
        database == "admin" and name in ("system.users", "system.roles", "system.version")
    )


def _merged(found: Sequence[StoredCollection]) -> Authorization:
    databases = {one.database for one in found}
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
    """Where the server takes them from; the version of their form is no use to anybody."""
    for one in found:
        if (name := TEMPORARY.get(_kind(one))) is not None:
            target = replace(
                one, database="admin", name=name, options=NO_OPTIONS, indexes=(), uuid=None
            )
            yield one.namespace, target


def _kind(one: StoredCollection) -> str:
    return one.name.removeprefix("$admin.")
