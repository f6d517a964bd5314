"""An oplog that is kept until the documents that it belongs to are loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType

from fastdump.codec.bson import Batch, reframe

__all__ = ["Spool"]

_READ_BYTES = 1024 * 1024


class Spool(AbstractContextManager["Spool"]):
    """Documents in a file that has no name, in the folder for temporary files."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - this object is its context

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the space back."""
        self._file.close()

    def keep(self, batch: Batch) -> None:
        """Append some."""
        self._file.write(batch.data)

    def batches(self) -> Iterator[Batch]:
        """All of them, when no more are appended."""
        self._file.seek(0)
        yield from reframe(iter(partial(self._file.read, _READ_BYTES), b""))
