"""End the work of this process by an exception when a signal arrives."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

__all__ = ["end_by"]

_AGAIN_SECONDS = 0.01
"""Time in seconds after which a signal is sent again that arrived in a bad moment."""

_IMPORTS = "<frozen importlib"
"""Beginning of the names of Python's own files that import others."""

Handler = Callable[[int, FrameType | None], object]


def end_by(
    number: signal.Signals, make: Callable[[], BaseException], second: Handler | signal.Handlers
) -> None:
    """Raise an exception in the main thread when a signal arrives.

    In two moments the exception would be lost, and the work would go on: Python drops it while it
    finalizes an object, and prints a traceback instead; and modules written in C drop it while they
    import others. Then the signal is sent again, a moment later. Objects that the exception leaves
    half made may fail while they are finalized, which is not printed either.

    Args:
        number: the signal.
        make: returns the exception.
        second: the handler of a second signal.
    """
    raised: list[BaseException] = []
    others = sys.unraisablehook

    def first(_number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):
            _send_again(number)
            return
        signal.signal(number, second)
        raised.append(make())
        raise raised[-1]

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if not raised:
            others(unraisable)
            return
        if not any(unraisable.exc_value is one for one in raised):
            return
        signal.signal(number, first)
        _send_again(number)

    sys.unraisablehook = dropped
    signal.signal(number, first)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTS):
            return True
        frame = frame.f_back
    return False


def _send_again(number: signal.Signals) -> None:
    again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
