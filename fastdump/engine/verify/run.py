"""The command verify: read a whole backup and compare it with what its manifest promises."""

from __future__ import annotations

import time
from contextlib import nullcontext

from fastdump.engine.verify.archive import ArchiveVerification
from fastdump.engine.verify.duplicate_ids import Keys
from fastdump.engine.verify.files import FilesVerification
from fastdump.engine.verify.verification import Verification
from fastdump.errors import UsageError
from fastdump.layouts.interface import Source
from fastdump.model import OPLOG, Namespace, StoredCollection
from fastdump.progress import Reporter
from fastdump.report import Problem, VerifyReport
from fastdump.storage.temporary_files import scratch_folder

__all__ = ["verify"]


def verify(
    source: Source,
    name: str | None,
    *,
    workers: int,
    unique: bool = False,
    share: float = 1,
    reporter: Reporter,
) -> VerifyReport:
    """Inflate every document, and check CRCs, framing, counts and digests.

    Args:
        source: where the backup is.
        name: the name or path of the backup; None is the most recent.
        workers: number of processes.
        unique: see that no two documents of a collection have the same `_id`, which takes 16 bytes
            for each document in the folder for temporary files.
        share: the share of the documents to read, above 0 and at most 1; which ones, is chance.
        reporter: is told about the progress.

    Raises:
        BackupNotFoundError: there is no such backup.
        IncompleteError: a worker died.
        StorageError: a file cannot be read.
        UsageError: an archive, or `unique`, needs all documents.
    """
    clock = time.monotonic()
    backup = source.find(name)
    if share < 1 and (unique or source.stream is not None):
        what = "the search for an _id that is there twice" if unique else "an archive"
        raise UsageError(f"--sample reads a part, and {what} needs all documents: leave it out")
    collections, notes = source.contents(backup)
    if backup.oplog is not None:
        collections = [*collections, backup.oplog]
    problems = source.reader.missing(collections)
    present = _present(collections, problems)
    with scratch_folder("fastdump-keys-") if unique else nullcontext() as folder:
        keys = None if folder is None else Keys(folder, _with_ids(present))
        run: Verification
        if source.stream is not None:
            run = ArchiveVerification(backup, source.stream, present, keys, reporter)
        else:
            run = FilesVerification(backup, present, source.reader, workers, keys, reporter, share)
        run.run()
    return VerifyReport(
        backup.name,
        backup.path,
        time.monotonic() - clock,
        tuple(run.reports()),
        tuple(problems + run.problems + source.problems(backup)),
        tuple(notes),
        share,
    )


def _present(
    collections: list[StoredCollection], problems: list[Problem]
) -> list[StoredCollection]:
    """Return the collections whose files have no problem that is known before they are read."""
    wrong = {problem.path for problem in problems}
    return [one for one in collections if one.file is None or one.file.path not in wrong]


def _with_ids(collections: list[StoredCollection]) -> tuple[Namespace, ...]:
    """Return all collections but the oplog, whose entries have no `_id`."""
    return tuple(found.namespace for found in collections if found.namespace != OPLOG)
