"""The package that is published: built, checked, and installed in a clean place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SHARED = (
    "share/man/man1/fastdump.1",
    "share/bash-completion/completions/fastdump",
    "share/zsh/site-functions/_fastdump",
    "share/fish/vendor_completions.d/fastdump.fish",
)

pytestmark = pytest.mark.timeout(300)


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_from_the_sources(tmp_path: Path) -> None:
    """The wheel is made from the archive of sources, so this archive is whole too."""
    run("build", "--no-isolation", "--outdir", tmp_path, PROJECT)
    (sources,) = tmp_path.glob("*.tar.gz")
    (wheel,) = tmp_path.glob("*.whl")
    run("twine", "check", "--strict", sources, wheel)
    run("check_wheel_contents", wheel)
    place = tmp_path / "installed"
    run("pip", "install", "--no-deps", "--no-index", "--target", place, wheel)
    for name in ("fastdump/py.typed", "fastdump/cli/page/status.html", *SHARED):
        assert (place / name).is_file(), name
    assert not list(place.glob("tests")), "only the package is installed"
