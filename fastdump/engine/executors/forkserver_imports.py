"""What the forkserver imports once, so that each worker starts with it loaded."""

import sys
from types import TracebackType

import fastdump.engine.backup.run
import fastdump.engine.copy.run
import fastdump.engine.restore.run
import fastdump.engine.verify.run  # noqa: F401


def _quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say nothing where the coordinator went away while it asked for a process."""
    if kind is not EOFError:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _quietly
