"""The current folder may hold anything, also files that are named like Python's modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fastdump.demo.komodo import generate
from tests.conftest import COMMAND_SECONDS, Server, environment


def test_modules_in_the_current_folder_are_not_imported(server: Server, tmp_path: Path) -> None:
    database = server.new_database()
    generate(server.connection, database, 100_000_000)
    for name in ("signal", "queue", "msgspec", "fastdump"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    script = Path(sys.executable).with_name("fastdump")  # python -m would look there by itself
    arguments = ["backup", "--uri", server.uri, "--db", database, "-f", "backups", "-j", "2", "-y"]
    done = subprocess.run(
        [script, *arguments], cwd=tmp_path, env=environment(), capture_output=True, text=True,
        timeout=COMMAND_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "current folder" not in done.stderr
