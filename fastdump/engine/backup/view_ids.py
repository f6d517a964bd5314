"""Find documents of a view that have no `_id`, or the same `_id` as another document.

A collection cannot hold such documents unchanged, so the user is told when a view is backed up as a
collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from fastdump.codec.bson import Batch, spans
from fastdump.model import Namespace, Part, ViewIds
from fastdump.mongo.doubles import bare
from fastdump.storage.temporary_files import scratch_folder

__all__ = ["ViewLook", "describe_view_ids"]


class ViewLook(AbstractContextManager["ViewLook"]):
    """Collector of the `_id`s of one view; it takes 16 bytes per document in a temporary folder.

    Args:
        namespace: the view.
    """

    def __init__(self, namespace: Namespace) -> None:
        from fastdump.engine.verify.duplicate_ids import Keys, KeyWriter  # for views only

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
        """Remove the temporary files."""
        self._held.close()

    def add(self, batch: Batch) -> None:
        """Record the `_id`s of a batch.

        Raises:
            StorageError: the disk refuses.
        """
        self._without_id += len(bare(batch.data, spans(batch.data)))
        self._writer.add(self._namespace, batch.data)

    def end(self) -> ViewIds:
        """Return the numbers of documents with a repeated `_id` and without one.

        Raises:
            StorageError: the disk refuses.
        """
        from fastdump.engine.verify.duplicate_ids import compare, shares

        met = (compare(share) for share in shares(self._writer.end()))
        return ViewIds(sum(one.counts.total() for one in met), self._without_id)


def describe_view_ids(views: Iterable[tuple[Namespace, Part]]) -> Iterator[str]:
    """Yield notes on documents of views that a restore into a collection cannot bring back."""
    for name, part in views:
        doubled, without_id = (0, 0) if part.ids is None else (part.ids.doubled, part.ids.without)
        if doubled:
            yield (
                f"the view {name} contains {doubled:,} documents with the _id of another document: "
                "a collection cannot hold them, so a restore rejects and counts them"
            )
        if without_id:
            yield (
                f"the view {name} contains {without_id:,} documents without an _id: the server "
                "gives each a new one at every restore, so that restoring twice doubles them"
            )
