"""The dashboard for Grafana shows metrics that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fastdump.runs import metrics

DOCS = Path(__file__).parents[2] / "docs"


def test_every_metric_is_known() -> None:
    text = (DOCS / "grafana-dashboard.json").read_text()
    shown = {
        word
        for panel in json.loads(text)["panels"]
        for word in re.findall(r"fastdump_\w+", panel["targets"][0]["expr"])
    }
    assert len(shown) == 6
    assert shown <= set(metrics._ABOUT)


def test_every_metric_is_described() -> None:
    text = (DOCS / "monitoring.md").read_text()
    assert set(re.findall(r"^\| `(fastdump_\w+)`", text, re.MULTILINE)) == set(metrics._ABOUT)
