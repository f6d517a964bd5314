"""Completion in shells: the scripts are valid, and complete what the option table has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fastdump.cli import _COMMANDS, main
from fastdump.cli.completion import manual, script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_accepts_it(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "--keep-daily" in text
    path = tmp_path / "script"
    path.write_text(text)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", path], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["sched"], {"schedule"}),
        (["backup", "--keep-d"], {"--keep-daily"}),
        (["backup", "--layout", "komodo"], {"komodo", "komodo-json"}),
        (["schedule", "sys"], {"systemd"}),
        (["restore", "--ns-"], {"--ns-include", "--ns-exclude", "--ns-from", "--ns-to"}),
    ],
)
def test_bash_completes(words: list[str], found: set[str], tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(script("bash"))
    quoted = " ".join(f"'{word}'" for word in ["fastdump", *words])
    asked = f"""
        source {path}
        COMP_WORDS=({quoted}); COMP_CWORD={len(words)}
        function=$(complete -p fastdump | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", asked],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert set(done.stdout.split()) == found


def test_the_manual_has_every_command() -> None:
    text = manual()
    assert len(_COMMANDS) > 10
    for name in _COMMANDS:
        assert f"COMMAND \\fI\\,'fastdump {name}'\\/\\fR" in text
    assert r"\-\-keep\-daily" in text


def test_no_such_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "sh"]) == 2
    assert "must be for one of bash, zsh, fish" in capsys.readouterr().err
