"""The modules that the forkserver imports once, so that each worker starts with them loaded."""

import sys
from types import TracebackType

import fastdump.engine.backup.run
import fastdump.engine.convert.run
import fastdump.engine.copy.run
import fastdump.engine.restore.run
import fastdump.engine.verify.run  # noqa: F401


def _quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print no traceback if the coordinator ended while it was asking for a process.

    The new process finds its pipe closed, or the semaphores gone that the coordinator had made.
    """
    if kind not in (EOFError, FileNotFoundError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _quietly
