"""Print tables, sizes and notes for people. Sizes are decimal: 1 MB is a million bytes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from fastdump.cli import log
from fastdump.model import CollectionKind, Connection, Consistency, Namespace
from fastdump.progress import SHOWN, JsonLines, Reporter
from fastdump.report import AgainstReport, CollectionReport, LoadReport

__all__ = [
    "about_held",
    "age",
    "comparisons",
    "consistent",
    "interrupted",
    "loaded",
    "naming",
    "notes",
    "rate",
    "shown_database",
    "shown_name",
    "size",
    "split_off",
    "summary",
    "table",
]

_LONGEST_NAME = 40

T = TypeVar("T")


def size(value: float) -> str:
    """Return a number of bytes for people, such as 1.2 MB."""
    import humanize

    return humanize.naturalsize(value)


def age(moment: datetime) -> str:
    """Return the age of a moment for people, such as "2 days ago"."""
    import humanize

    return humanize.naturaltime(datetime.now(UTC) - moment)


def rate(raw_bytes: int, seconds: float) -> str:
    """Return a speed in MB/s; empty if it took no time."""
    return f"{raw_bytes / 1e6 / seconds:,.1f}" if seconds else ""


def shown_name(name: str) -> str:
    """Return a name on one short line, with escapes for special characters."""
    shown = name if name.isprintable() else repr(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"


def naming(namespaces: Iterable[Namespace]) -> Callable[[Namespace], str]:
    """Return a function that names each namespace, without the database if there is only one."""
    if len({namespace.database for namespace in namespaces} - {""}) > 1:
        return str
    return lambda namespace: namespace.collection


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> None:
    """Print a table; the columns numbered in `right` are aligned to the right."""
    from tabulate import tabulate

    columns = ["right" if column in right else "left" for column in range(len(headers))]
    print(
        tabulate(rows, headers, disable_numparse=True, colalign=columns, preserve_whitespace=True)
    )


def summary(
    collections: Iterable[CollectionReport], seconds: float, *, shows_all: bool = False
) -> None:
    """Print a line for each collection, or for the largest if there are many, and the total.

    A collection's seconds are the sum over the workers; the total's seconds are elapsed time.
    """
    collections = list(collections)
    name_of = naming(found.namespace for found in collections)
    shown, others = split_off(collections, lambda one: one.raw_bytes, shows_all=shows_all)
    rows = [
        _row(shown_name(name_of(found.namespace)), [found], found.seconds)
        for found in shown
        if found.kind is not CollectionKind.VIEW
    ]
    rows += [
        (shown_name(name_of(found.namespace)), "view", "", "", "", "")
        for found in shown
        if found.kind is CollectionKind.VIEW
    ]
    if others:
        rows.append(_row(f"{len(others):,} others", others, sum(one.seconds for one in others)))
    rows.append(_row("total", collections, seconds))
    headers = ("collection", "documents", "size", "compressed", "seconds", "MB/s")
    table(headers, rows, right=range(1, 6))


def split_off(
    rows: Sequence[T], weight: Callable[[T], float], *, shows_all: bool
) -> tuple[list[T], list[T]]:
    """Return the heaviest rows and the others, both in their order; no others if all are shown."""
    if shows_all or len(rows) <= SHOWN:
        return list(rows), []
    heaviest = sorted(range(len(rows)), key=lambda place: weight(rows[place]), reverse=True)
    places = set(heaviest[:SHOWN])
    return (
        [row for place, row in enumerate(rows) if place in places],
        [row for place, row in enumerate(rows) if place not in places],
    )


def _row(name: str, found: Sequence[CollectionReport], seconds: float) -> tuple[str, ...]:
    raw_bytes = sum(one.raw_bytes for one in found)
    return (
        name,
        f"{sum(one.documents for one in found):,}",
        size(raw_bytes),
        size(sum(one.file_bytes for one in found)),
        f"{seconds:.2f}",
        rate(raw_bytes, seconds),
    )


def comparisons(report: AgainstReport, *, shows_all: bool) -> None:
    """Print the result of a comparison with a database: all differences, and what is equal."""
    name_of = naming(found.namespace for found in report.collections)
    equal = [found for found in report.collections if found.equal]
    _shown, others = split_off(equal, lambda one: one.in_backup or 0, shows_all=shows_all)
    hidden = {one.namespace for one in others}
    rows = []
    for found in report.collections:
        if found.namespace in hidden:
            continue
        counts = [
            "?" if found.in_backup is None else f"{found.in_backup:,}",
            "none" if found.in_database is None else f"{found.in_database:,}",
        ]
        deep = [f"{found.different:,}", f"{found.missing:,}", f"{found.additional:,}"]
        rows.append((shown_name(name_of(found.namespace)), *counts, *(deep if report.deep else ())))
    if others:
        count = f"{sum(one.in_backup or 0 for one in others):,}"
        zeros = ("0", "0", "0") if report.deep else ()
        rows.append((f"{len(others):,} others", count, count, *zeros))
    headers = ["collection", "in the backup", "in the database"]
    headers += ["different", "missing", "additional"] if report.deep else []
    table(headers, rows, right=range(1, len(headers)))
    for found in report.collections:
        notes(f"{found.namespace}: document {example}" for example in found.examples)


def notes(messages: Iterable[str], reporter: Reporter | None = None) -> None:
    """Print notes to standard error, as JSON if the reporter writes JSON."""
    for message in messages:
        if isinstance(reporter, JsonLines):
            reporter.note(message)
        else:
            log.note(message)


def interrupted(times: int, reporter: Reporter | None = None) -> None:
    """Print a note if the connection to a server was lost."""
    if times:
        told = (
            f"the connection to the server was lost {times} times; interrupted operations were "
            "retried"
        )
        notes([told], reporter)


def consistent(found: Consistency) -> None:
    """Print the moment of all documents, or that they are of different moments."""
    if found.moment is None:
        print("consistency none: the documents are of different moments")
        return
    exactly = f" ({found.cluster_time})" if found.cluster_time else ""
    but = f", except {', '.join(found.exceptions)}" if found.exceptions else ""
    when = f"{found.moment.astimezone():%Y-%m-%d %H:%M:%S}"
    print(f"consistency {found.mode}: all documents are of {when}{exactly}{but}")


def shown_database(connection: Connection, *databases: str | None) -> str:
    """Return the names of databases with their server, without passwords; None stands for all."""
    user = f" as {connection.username}" if connection.username else ""
    names = " and ".join(repr(name) for name in databases)
    is_named = databases and all(databases)
    what = f"database{'s' * (len(databases) > 1)} {names}" if is_named else "all databases"
    return f"{what} of {connection.shown}{user}"


def about_held(held: int, *, drop: bool) -> Iterator[str]:
    """Yield a note on the documents that the target already has in these collections."""
    if held and drop:
        yield f"the target has about {held:,} documents in these collections; they are dropped"
    elif held:
        yield (
            f"the target has about {held:,} documents in these collections; those that are not in "
            "the source stay there (--drop removes them first)"
        )


def loaded(
    report: LoadReport, verb: str, consistency: Consistency | None, options: argparse.Namespace
) -> int:
    """Print the result of a restore or a copy with its failures, and return the exit code."""
    if not options.quiet:
        interrupted(report.interruptions)
        summary(report.collections, report.seconds, shows_all=options.verbose)
        print(
            f"\n{report.inserted:,} documents inserted, {report.replaced:,} replaced, "
            f"{report.unchanged:,} were there already; {report.indexes} indexes in place"
            + (f"; {report.operations:,} operations replayed" if report.operations else "")
        )
        if consistency is not None:
            consistent(consistency)
    if report.complete:
        return 0
    for failure in report.failures:
        log.error(failure)
    for rejection in report.rejections:
        log.error(f"{rejection.namespace}: document {rejection.document}: {rejection.reason}")
    for reason, count in report.reasons:
        log.error(f"{count:,} documents were refused: {reason}")
    log.error(
        f"the {verb} is not complete: {report.rejected:,} documents could not be written, and "
        f"there were {len(report.failures)} other failures"
    )
    return 1
