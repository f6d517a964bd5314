"""The first module that the forkserver imports, for it and for all processes that it starts."""

import sys
from types import TracebackType


def _quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print no traceback if the coordinator ended while it was asking for a process.

    The new process finds its pipe closed, or the semaphores gone that the coordinator had made.
    """
    if kind not in (EOFError, FileNotFoundError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _quietly
