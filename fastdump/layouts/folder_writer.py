"""Write a backup of many files to a hidden folder, which is renamed when all is on the disk."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from glob import escape
from io import BufferedWriter
from pathlib import Path
from typing import ClassVar

from fastdump.layouts import manifest
from fastdump.layouts.form import Form
from fastdump.layouts.joined_files import JoinedFile, JoinedLines, JoinedMembers
from fastdump.layouts.journal import Finished, Journal, Planned
from fastdump.model import Catalog, Chunk, Consistency, Encoding, Namespace, Part
from fastdump.report import CollectionReport
from fastdump.storage.disk_errors import disk
from fastdump.storage.locking import Lock
from fastdump.storage.volume import Volume, private

__all__ = ["MANIFEST", "PARTIAL", "FolderWriter", "PartFiles", "new_writer"]

MANIFEST = "manifest.json"
"""Name of the file in a backup's folder that describes the backup."""
PARTIAL = ".partial"
"""Ending of the hidden folder's name."""
_SYNC_THREADS = 16


@dataclass(frozen=True, slots=True)
class PartFiles:
    """Outputs that give each chunk a file of its own, beside the file of its collection."""

    can_restart: ClassVar[bool] = True
    takes_many: ClassVar[bool] = True
    paths: Mapping[Namespace, Path]

    def path(self, chunk: Chunk) -> Path:
        """Return the path of a chunk's file."""
        path = self.paths[chunk.namespace]
        return path.with_name(f"{path.name}.{chunk.number:06d}")

    @contextmanager
    def opened(self, chunk: Chunk) -> Iterator[PartFile]:
        """Open the file of a chunk, empty."""
        path = self.path(chunk)
        with disk(path), open(path, "wb", opener=private) as file:
            yield PartFile(file)


class PartFile:
    """The open file of a chunk.

    Args:
        file: the file.
    """

    def __init__(self, file: BufferedWriter) -> None:
        self._file = file

    def write(self, data: bytes, documents: int = 0) -> int:  # noqa: ARG002 - a file tells itself
        """Write all of that."""
        return self._file.write(data)

    def end(self, part: Part) -> Part:
        """Return the part: nothing was held back."""
        return part


class FolderWriter:
    """Writer of a backup's folder, which gets its name in `commit`."""

    def __init__(
        self,
        path: Path,
        partial: Path,
        catalog: Catalog,
        form: Form,
        lock: Lock,
        volume: Volume,
    ) -> None:
        self.path = path
        self._journal: Journal | None = None
        self._volume = volume
        self._lock = lock
        self.encoding = form.encoding
        self.level = form.level
        self._partial = partial
        self._form = form
        self._joiner = ThreadPoolExecutor(1, "fastdump-join")
        names = form.file_names(catalog)
        joined = _joined(form)
        self._files = {
            collection.namespace: joined(
                partial / names[collection.namespace], collection, self._joiner, volume
            )
            for collection in catalog.collections
        }
        self._left_out: list[JoinedFile] = []
        self._parts = PartFiles({name: file.path for name, file in self._files.items()})
        for folder in self._folders():
            folder.mkdir(mode=0o700, exist_ok=True)

    @property
    def name(self) -> str:
        """The name of the finished backup."""
        return self.path.name

    @property
    def outputs(self) -> PartFiles:
        """The files that workers write chunks to."""
        return self._parts

    def add(self, chunk: Chunk, part: Part) -> None:
        """Record a finished chunk; the chunks of a collection are joined in order."""
        if self._journal is not None:
            with disk(self._journal.path):
                self._journal.add(chunk, part)
        self._files[chunk.namespace].add(chunk.number, self._parts.path(chunk), part)

    def keep_journal(self, planned: Planned) -> None:
        """Keep a journal from now on, so that a later run can continue this one.

        Raises:
            StorageError: the journal cannot be written.
        """
        with disk(self._partial):
            self._journal = Journal(self._partial, planned)

    def resume(self, planned: Planned, finished: Sequence[Finished]) -> set[Chunk]:
        """Take over the intact parts that an earlier run wrote to the same folder.

        Returns:
            The chunks that need not be read again.

        Raises:
            StorageError: the disk refuses.
        """
        parts = defaultdict[Namespace, dict[int, Part]](dict)
        for entry in finished:
            chunk = planned.chunks[entry.chunk]
            parts[chunk.namespace][chunk.number] = entry.part
        chunks = defaultdict[Namespace, dict[int, Chunk]](dict)
        for chunk in planned.chunks:
            chunks[chunk.namespace][chunk.number] = chunk
        done = set()
        with disk(self._partial):
            for namespace, file in self._files.items():
                of_file = chunks[namespace]
                paths = {number: self._parts.path(one) for number, one in of_file.items()}
                done |= {of_file[number] for number in file.resume(parts[namespace], paths)}
        return done

    def leave_out(self, namespace: Namespace) -> None:
        """Leave out a collection. Its files are removed in `commit`, since workers may write on."""
        self._left_out.append(self._files.pop(namespace))

    def parts(self, namespace: Namespace) -> Sequence[Part]:
        """Return the recorded parts of a collection, including those of an earlier run."""
        return self._files[namespace].parts

    def report(self, namespace: Namespace) -> CollectionReport:
        """Return the sums of a collection's parts."""
        return self._files[namespace].report()

    def commit(
        self, catalog: Catalog, started: datetime, ended: datetime, consistency: Consistency
    ) -> None:
        """Sync everything, then rename: the latest-only files first, the folder last."""
        with disk(self._partial):
            for file in self._files.values():
                file.finish()
            self._joiner.shutdown()
            self._remove_left_out()
            self._sync_files()
            further = self._form.further_files(catalog)
            for name, content in further.items():
                self._volume.write(self._partial / name, content)
            own, latest = self._entries()

            def describe(
                name: str, entries: Sequence[manifest.Entry], others: Mapping[str, bytes]
            ) -> None:
                described = manifest.describe(
                    catalog, self._form.layout, started, ended, consistency, entries, others
                )
                self._volume.write(self._partial / name, manifest.write(described))

            describe(MANIFEST, own, further)
            for stem, entry in latest.items():
                describe(f"{stem}.{MANIFEST}", [entry], {})
            self._volume.set_mode(self._partial)
            # Not earlier, so that another run can continue if a full disk ends this one.
            self._remove_journal()
            for folder in self._folders():
                self._volume.sync(folder)
            # All content is on the disk now. Only renames follow.
            for stem in latest:
                self._replace_latest(stem)
            if latest:
                self._volume.sync(self._partial)  # the latest-only files have left it
            self._partial.rename(self.path)
            self._volume.sync(self.path.parent)

    def _remove_journal(self) -> None:
        if self._journal is not None:
            self._journal.remove()
            self._journal = None

    def forget(self) -> None:
        """Stop keeping the journal, so that a failure leaves nothing for a later run."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def abort(self) -> None:
        """Remove the unfinished backup, unless a journal lets a later run continue it.

        Older backups stay unchanged.
        """
        self._joiner.shutdown(cancel_futures=True)
        if self._journal is None:
            shutil.rmtree(self._partial, ignore_errors=True)
        else:
            self._journal.close()
        self.close()

    def close(self) -> None:
        """Release the lock on the place; files stay as they are."""
        self._joiner.shutdown()
        with disk(self.path.parent):
            self._lock.release()

    def _folders(self) -> list[Path]:
        """Return every folder of the backup, the inner ones first."""
        return [
            *({file.path.parent for file in self._files.values()} - {self._partial}),
            self._partial,
        ]

    def _remove_left_out(self) -> None:
        for file in self._left_out:
            for path in file.path.parent.glob(f"{escape(file.path.name)}*"):
                path.unlink()

    def _sync_files(self) -> None:
        paths = [file.path for file in self._files.values() if file.collection.has_data]
        with ThreadPoolExecutor(_SYNC_THREADS, "fastdump-sync") as syncing:
            list(syncing.map(self._volume.sync, paths))

    def _entries(self) -> tuple[list[manifest.Entry], dict[str, manifest.Entry]]:
        """Return the manifest entries of the folder, and the latest-only ones by stem of file."""
        own: list[manifest.Entry] = []
        latest: dict[str, manifest.Entry] = {}
        for namespace, file in self._files.items():
            has_data = file.collection.has_data
            entry = manifest.entry(
                file.collection,
                str(file.path.relative_to(self._partial)) if has_data else None,
                file.report(),
                file.digest if has_data else None,
            )
            if has_data and namespace.collection in self._form.latest_only:
                latest[file.path.name.removesuffix(".gz")] = entry
            else:
                own.append(entry)
        return own, latest

    def _replace_latest(self, stem: str) -> None:
        """Replace a latest-only file and its manifest; at any moment a complete copy exists."""
        folder = self.path.parent
        final = folder / f"{stem}.{MANIFEST}"
        pending = final.with_name(f".{final.name}.next")
        (self._partial / final.name).replace(pending)
        self._volume.sync(folder)
        (self._partial / f"{stem}.gz").replace(folder / f"{stem}.gz")
        self._volume.sync(folder)
        pending.replace(final)
        self._volume.sync(folder)


def _joined(form: Form) -> type[JoinedFile]:
    if form.encoding is Encoding.JSON:
        return JoinedLines
    return JoinedFile if form.level is None else JoinedMembers


def new_writer(
    path: Path, partial: Path, catalog: Catalog, form: Form, lock: Lock, volume: Volume
) -> FolderWriter:
    """Create the hidden folder of a new backup, and return its writer.

    Raises:
        OSError: the disk refuses; no folder is left behind.
    """
    partial.mkdir(mode=0o700)
    try:
        return FolderWriter(path, partial, catalog, form, lock, volume)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
