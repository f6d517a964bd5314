"""Names in any script, whatever the locale.

Names of files, databases and collections are UTF-8, in the folder of backups as on the server. An
old locale, or none, would have Python use another encoding for them. So all is UTF-8 but what is
printed: that is in the encoding of the terminal, and what it cannot show is escaped.
"""

from __future__ import annotations

import io
import os
import sys

__all__ = ["escape_output", "insist_on_utf8"]

_OUTPUT = "backslashreplace"


def escape_output() -> None:
    """Have what the output cannot show printed as an escape, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_OUTPUT)


def insist_on_utf8() -> None:
    """Begin again in Python's UTF-8 mode, where the locale has another encoding.

    It can only be chosen when Python starts. Arguments and variables are handed over as UTF-8.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    variables = {**os.environ, "PYTHONIOENCODING": f"{sys.stdout.encoding}:{_OUTPUT}"}
    os.execve(  # noqa: S606 - itself
        sys.executable,
        [_utf8(word) for word in (sys.executable, "-X", "utf8", *sys.orig_argv[1:])],
        {_utf8(name): _utf8(value) for name, value in variables.items()},
    )


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
