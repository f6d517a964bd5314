from __future__ import annotations

import signal
import subprocess
import sys

_HALF_MADE = """
import os, signal
from fastdump.signals import end_by

for number in (signal.SIGINT, signal.SIGTERM):
    end_by(number, lambda: SystemExit(7), signal.SIG_IGN)


class Half:
    def __init__(self) -> None:
        os.kill(os.getpid(), signal.{name})
        self.conns = []

    def __del__(self) -> None:
        self.conns.clear()


{before}
Half()
"""


def _run(name: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _HALF_MADE.format(name=name, before=before)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_what_an_interrupt_leaves_half_made_says_nothing() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        done = _run(number.name)
        assert (done.returncode, done.stderr) == (7, "")


def test_other_errors_of_destructors_are_shown() -> None:
    done = _run("SIGTERM", before="Half.__init__ = lambda self: None\nHalf()\nraise SystemExit(3)")
    assert done.returncode == 3
    assert "AttributeError" in done.stderr
