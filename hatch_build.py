"""Put the manual page and the completions into the wheel, made from the option table."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_COMPLETIONS = {
    "bash": "share/bash-completion/completions/fastdump",
    "zsh": "share/zsh/site-functions/_fastdump",
    "fish": "share/fish/vendor_completions.d/fastdump.fish",
}
_MANUAL = "share/man/man1/fastdump.1"


class CustomBuildHook(BuildHookInterface[Any]):
    """The hook, under the name that hatchling looks for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the files, and name the places where they are installed."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from fastdump.cli.completion import manual, script

        folder = Path(mkdtemp())
        texts = {_MANUAL: manual()}
        texts |= {place: script(shell) for shell, place in _COMPLETIONS.items()}
        for place, text in texts.items():
            path = folder / Path(place).name
            path.write_text(text)
            build_data["shared_data"][str(path)] = place
