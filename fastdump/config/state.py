"""The folder in which fastdump remembers things from one run to the next."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["state_folder"]


def state_folder() -> Path:
    """Return the folder, which need not exist.

    Source: the XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec
    """
    given = os.environ.get("XDG_STATE_HOME", "")
    base = (
        Path(given) if given.startswith("/") else Path(os.environ.get("HOME", "/")) / ".local/state"
    )
    return base / "fastdump"
