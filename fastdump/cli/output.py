"""Tables and sizes for people. Standard output; sizes are decimal, as disks are sold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from fastdump.model import CollectionKind, Connection, Consistency, Namespace
from fastdump.progress import JsonLines, Reporter
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
    "summary",
    "table",
]

_LONGEST_NAME = 40


def size(value: float) -> str:
    """Bytes, for people."""
    import humanize

    return humanize.naturalsize(value)


def age(moment: datetime) -> str:
    """Return how long ago a moment was, for people."""
    import humanize

    return humanize.naturaltime(datetime.now(UTC) - moment)


def rate(raw_bytes: int, seconds: float) -> str:
    """MB/s."""
    return f"{raw_bytes / 1e6 / seconds:,.1f}" if seconds else ""


def shown_name(name: str) -> str:
    """A name on one short line, whatever it holds."""
    shown = name if name.isprintable() else repr(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"


def naming(namespaces: Iterable[Namespace]) -> Callable[[Namespace], str]:
    """How to call each of them: without the database, where there is only one."""
    if len({namespace.database for namespace in namespaces} - {""}) > 1:
        return str
    return lambda namespace: namespace.collection


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> None:
    """Print a table; the columns numbered in `right` are aligned there."""
    from tabulate import tabulate

    columns = ["right" if column in right else "left" for column in range(len(headers))]
    print(
        tabulate(rows, headers, disable_numparse=True, colalign=columns, preserve_whitespace=True)
    )


def summary(collections: Iterable[CollectionReport], seconds: float) -> None:
    """Print what was done, a line per collection and the total.

    A collection's seconds are those that workers were busy with it; the total's are wall time.
    """
    collections = list(collections)
    name_of = naming(found.namespace for found in collections)
    rows = [
        _row(
            shown_name(name_of(found.namespace)),
            found.documents,
            found.raw_bytes,
            found.file_bytes,
            found.seconds,
        )
        for found in collections
        if found.kind is not CollectionKind.VIEW
    ]
    rows += [
        (shown_name(name_of(found.namespace)), "view", "", "", "", "")
        for found in collections
        if found.kind is CollectionKind.VIEW
    ]
    rows.append(
        _row(
            "total",
            sum(found.documents for found in collections),
            sum(found.raw_bytes for found in collections),
            sum(found.file_bytes for found in collections),
            seconds,
        )
    )
    headers = ("collection", "documents", "size", "compressed", "seconds", "MB/s")
    table(headers, rows, right=range(1, 6))


def _row(
    name: str, documents: int, raw_bytes: int, compressed: int, seconds: float
) -> tuple[str, ...]:
    return (
        name,
        f"{documents:,}",
        size(raw_bytes),
        size(compressed),
        f"{seconds:.2f}",
        rate(raw_bytes, seconds),
    )


def comparisons(report: AgainstReport) -> None:
    """Print what a comparison with a database found."""
    name_of = naming(found.namespace for found in report.collections)
    rows = []
    for found in report.collections:
        counts = [
            "?" if found.in_backup is None else f"{found.in_backup:,}",
            "none" if found.in_database is None else f"{found.in_database:,}",
        ]
        deep = [f"{found.different:,}", f"{found.missing:,}", f"{found.additional:,}"]
        rows.append((shown_name(name_of(found.namespace)), *counts, *(deep if report.deep else ())))
    headers = ["collection", "in the backup", "in the database"]
    headers += ["different", "missing", "additional"] if report.deep else []
    table(headers, rows, right=range(1, len(headers)))
    for found in report.collections:
        notes(f"{found.namespace}: document {example}" for example in found.examples)


def notes(messages: Iterable[str], reporter: Reporter | None = None) -> None:
    """Print what the user should know, to standard error; where that is JSON, as such."""
    for message in messages:
        if isinstance(reporter, JsonLines):
            reporter.note(message)
        else:
            print(f"note: {message}", file=sys.stderr)


def interrupted(times: int, reporter: Reporter | None = None) -> None:
    """Say that a server went away, if it did."""
    if times:
        told = f"the server went away {times} times; what it held up was done again"
        notes([told], reporter)


def consistent(found: Consistency) -> None:
    """Say of which moment all documents are, or that they are of several."""
    if found.moment is None:
        print("consistency none: its documents are of different moments")
        return
    exactly = f" ({found.cluster_time})" if found.cluster_time else ""
    but = f", but for {', '.join(found.exceptions)}" if found.exceptions else ""
    when = f"{found.moment.astimezone():%Y-%m-%d %H:%M:%S}"
    print(f"consistency {found.mode}: all of it is of {when}{exactly}{but}")


def shown_database(connection: Connection, *databases: str | None) -> str:
    """Databases and where they are, without any password; None is all."""
    user = f" as {connection.username}" if connection.username else ""
    names = " and ".join(repr(name) for name in databases)
    is_named = databases and all(databases)
    what = f"database{'s' * (len(databases) > 1)} {names}" if is_named else "all databases"
    return f"{what} of {connection.shown}{user}"


def about_held(held: int, *, drop: bool) -> Iterator[str]:
    """What will happen to what a target already holds, if it holds anything."""
    if held and drop:
        yield f"the target holds about {held:,} documents in these collections; they are dropped"
    elif held:
        yield (
            f"the target holds about {held:,} documents in these collections; it is not cleared: "
            "what is not in the source stays there (--drop clears first)"
        )


def loaded(report: LoadReport, verb: str, consistency: Consistency | None, *, quiet: bool) -> int:
    """Print what a restore or a copy did, and what it could not do; returns the exit code."""
    if not quiet:
        interrupted(report.interruptions)
        summary(report.collections, report.seconds)
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
        print(f"fastdump: {failure}", file=sys.stderr)
    for rejection in report.rejections:
        print(
            f"fastdump: {rejection.namespace}: document {rejection.document}: {rejection.reason}",
            file=sys.stderr,
        )
    for reason, count in report.reasons:
        print(f"fastdump: {count:,} documents were refused: {reason}", file=sys.stderr)
    print(
        f"fastdump: the {verb} is not complete: {report.rejected:,} documents and "
        f"{len(report.failures)} other things could not be written",
        file=sys.stderr,
    )
    return 1
