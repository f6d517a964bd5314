"""Make names in any script work, in every locale.

Names of files, databases and collections are UTF-8, in the folder of backups and on the server.
With an old locale, or with none, Python would use another encoding for them. So everything is UTF-8
except the output: it has the encoding of the terminal, with escapes for other characters.
"""

from __future__ import annotations

import io
import os
import sys

__all__ = ["escape_output", "insist_on_utf8"]

_OUTPUT = "backslashreplace"


def escape_output() -> None:
    """Print characters that the output cannot show as escapes, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_OUTPUT)


def insist_on_utf8() -> None:
    """Start the process again in Python's UTF-8 mode, if the locale has another encoding.

    The mode can only be chosen when Python starts. Arguments and variables are passed as UTF-8.
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
