"""Make system calls fail as on other disks: a `sitecustomize.py` replaces them in every process."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

REFUSED = """
    import errno, os, stat

    def refusing(call, number, wanted=lambda *arguments: True):
        def refused(*arguments, **more):
            if wanted(*arguments):
                raise OSError(number, os.strerror(number), str(arguments[0]))
            return call(*arguments, **more)
        return refused
"""
"""Code that the sources of shims can use: `refusing(call, error number, condition)`."""


def shim(folder: Path, source: str) -> dict[str, str]:
    """Return the environment of a command whose processes first run that source."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(dedent(REFUSED) + dedent(source))
    return {"PYTHONPATH": str(folder)}
