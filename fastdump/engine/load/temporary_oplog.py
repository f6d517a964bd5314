"""The operations of an oplog, kept in a file until the documents are loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import IO

from fastdump.codec.bson import Batch, reframe
from fastdump.storage.temporary_files import scratch

__all__ = ["TemporaryOplog"]

_READ_BYTES = 1024 * 1024


class TemporaryOplog(AbstractContextManager["TemporaryOplog"]):
    """Operations in a file without a name, in the folder for temporary files.

    The file is made when the first operations come, so that nobody else needs the folder.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()

    def keep(self, batch: Batch) -> None:
        """Append operations.

        Raises:
            StorageError: the folder for temporary files cannot be written.
        """
        with scratch():
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - this object is its context
            self._file.write(batch.data)

    def batches(self) -> Iterator[Batch]:
        """Yield all operations. No more may be appended afterwards.

        Raises:
            StorageError: the folder for temporary files refuses.
        """
        if self._file is None:
            return
        with scratch():
            self._file.seek(0)
            yield from reframe(iter(partial(self._file.read, _READ_BYTES), b""))
