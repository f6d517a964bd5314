"""Looking at the `_id`s of what a view shows, which may repeat or have none.

A collection cannot hold such documents as they are, so it is said when a view is read as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from fastdump.codec.bson import Batch, spans
from fastdump.engine.verify.duplicate_ids import Keys, KeyWriter, compare, shares
from fastdump.model import Namespace, Part, ViewIds
from fastdump.mongo.doubles import bare
from fastdump.storage.temporary_files import scratch_folder

__all__ = ["ViewLook", "describe_view_ids"]


class ViewLook(AbstractContextManager["ViewLook"]):
    """Looks at the documents of one view: 16 bytes for each go to the folder for temporary files.

    Args:
        namespace: the view.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._held = ExitStack()
        folder = self._held.enter_context(scratch_folder("fastdump-keys-"))
        self._writer = KeyWriter(Keys(folder, (namespace,)), folder / "keys")
        self._without_id = 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the keys."""
        self._held.close()

    def add(self, batch: Batch) -> None:
        """Look at some documents.

        Raises:
            StorageError: the disk refuses.
        """
        self._without_id += len(bare(batch.data, spans(batch.data)))
        self._writer.add(self._namespace, batch.data)

    def end(self) -> ViewIds:
        """Return what was found.

        Raises:
            StorageError: the disk refuses.
        """
        met = (compare(share) for share in shares(self._writer.end()))
        return ViewIds(sum(one.counts.total() for one in met), self._without_id)


def describe_view_ids(views: Iterable[tuple[Namespace, Part]]) -> Iterator[str]:
    """Yield what a restore cannot bring back of views that were read as collections."""
    for name, part in views:
        doubled, without_id = (0, 0) if part.ids is None else (part.ids.doubled, part.ids.without)
        if doubled:
            yield (
                f"the view {name} shows {doubled:,} documents with the _id of another: a "
                "collection cannot hold them, so a restore refuses and counts them"
            )
        if without_id:
            yield (
                f"the view {name} shows {without_id:,} documents without _id: a server gives each "
                "a new one when it is restored, so that restoring twice doubles them"
            )
