"""The page of `fastdump status --html`, in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run, Server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def page(fastdump: Run, server: Server, tmp_path: Path) -> Path:
    """A page about two backups, of which one is verified, and a failure."""
    database, folder = server.new_database(), tmp_path / "backups"
    with server.client() as client:
        client[database]["<i>people</i>"].insert_many({"_id": n} for n in range(1000))
        client[database]["Stats"].insert_one({"_id": 1})
    arguments = ("backup", "--uri", server.uri, "--db", database, "-f", folder, "-y")
    assert fastdump(*arguments).code == 0
    with server.client() as client:
        client[database]["<i>people</i>"].insert_many({"_id": n} for n in range(1000, 1500))
    assert fastdump(*arguments).code == 0
    assert fastdump("verify", "-f", folder).code == 0
    lost = fastdump(*arguments[:2], "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50",
                    *arguments[3:], "--retry-for", "0")  # fmt: skip
    assert lost.code == 3
    path = tmp_path / "report.html"
    path.write_text("an older page")
    assert fastdump("status", "-f", folder, "--html", path, "-q").code == 1
    return path


def test_what_it_says(page: Path) -> None:
    text = page.read_text()
    assert '<h1 class="bad">Something is wrong</h1>' in text
    assert "127.0.0.1:1" in text
    assert "&lt;i&gt;people&lt;/i&gt;" in text
    assert "<i>people" not in text
    assert text.count("<figure>") == 3
    assert text.count('<rect class="ok"') == 2 + 2 + 2
    assert text.count('<rect class="failed"') == 1
    assert len(re.findall(r"<polyline", text)) == 1, "Stats is beside the backups"
    assert not re.search(r"(src|href)=\"(?!data:)", text), "it needs no network"
    assert [one.name for one in page.parent.iterdir() if "html" in one.name] == [page.name]


def test_without_backups(fastdump: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / "report.html"
    assert fastdump("status", "-f", tmp_path / "empty", "--html", path).code == 1
    assert "there is no complete backup" in path.read_text()
    refused = fastdump("status", "-f", tmp_path / "empty", "--html", tmp_path / "no" / "a.html")
    assert (refused.code, "Traceback" in refused.err) == (1, False)
    assert "a.html" in refused.err


@pytest.mark.parametrize(("width", "scheme"), [(390, 0), (390, 1), (1400, 0), (1400, 1)])
def test_in_a_browser(page: Path, tmp_path: Path, width: int, scheme: int) -> None:
    """It renders without errors, fits the screen, and is dark where the user wants that."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    arguments = (
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        # 0 is dark, 1 is light.
        f"--blink-settings=preferredColorScheme={scheme}",
    )  # fmt: skip
    shot = tmp_path / "shot.png"
    shown = subprocess.run(
        (*arguments, f"--screenshot={shot}", f"file://{page}"),
        capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert "CONSOLE" not in shown.stderr, shown.stderr
    assert shot.stat().st_size > 10_000
    # The page allows no scripts; a copy without that rule tells how it is laid out.
    copy = tmp_path / "copy.html"
    text = re.sub(r"<meta http-equiv=.*>", "", page.read_text())
    tell = "[document.documentElement.scrollWidth, window.innerWidth, " \
           "getComputedStyle(document.body).backgroundColor].join(' ')"  # fmt: skip
    copy.write_text(text.replace("</body>", f"<script>document.title = {tell}</script></body>"))
    found = subprocess.run(
        (*arguments, "--dump-dom", f"file://{copy}"),
        capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    title = re.search(r"<title>(\d+) (\d+) (.*)</title>", found.stdout)
    assert title is not None
    assert int(title[1]) <= int(title[2]), "one would have to scroll sideways"
    assert (title[3] == "rgb(18, 22, 29)") == (scheme == 0)
