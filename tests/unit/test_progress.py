from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from fastdump.cli.output import summary
from fastdump.model import CollectionKind, Namespace
from fastdump.progress import Bar, JsonLines, LogLines, Reporter, Silent, reporter
from fastdump.report import CollectionReport

REPORT = CollectionReport(
    Namespace("db", "line\nbreak"), CollectionKind.COLLECTION, 1234, 5_000_000, 10, 0.5
)


def tell(chosen: Reporter) -> None:
    chosen.start("backup", 2000, 10_000_000)
    chosen.update(1000, 5_000_000)
    chosen.finished(REPORT)
    chosen.note("by the way")
    chosen.stop()


def test_json_lines_are_json() -> None:
    stream = io.StringIO()
    tell(JsonLines(stream))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == [
        "start",
        "progress",
        "collection",
        "note",
        "stop",
    ]
    assert events[2]["name"] == "line\nbreak"
    assert events[1] == {"event": "progress", "documents": 1000, "raw_bytes": 5_000_000}


def test_log_lines_are_one_line_each() -> None:
    stream = io.StringIO()
    tell(LogLines(stream))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert "1,234 documents" in lines[1]


def test_a_bar_shows_documents_speed_and_the_finished_collection() -> None:
    stream = io.StringIO()
    tell(Bar(stream))
    shown = stream.getvalue()
    assert "1,234 documents" in shown
    assert "B/s" in shown
    assert "by the way" in shown


def test_which_reporter_for_what() -> None:
    stream = io.StringIO()
    assert isinstance(reporter("auto", stream), LogLines)
    assert isinstance(reporter("bar", stream), Bar)
    assert isinstance(reporter("json", stream), JsonLines)
    assert isinstance(reporter("none", stream), Silent)


@pytest.mark.parametrize("kind", [Bar, LogLines])
def test_thousands_of_collections_are_not_thousands_of_lines(
    kind: type[Bar] | type[LogLines],
) -> None:
    few, all_of_them = io.StringIO(), io.StringIO()
    for stream, shows_all in ((few, False), (all_of_them, True)):
        chosen = kind(stream, shows_all=shows_all)
        for _collection in range(2000):
            chosen.finished(REPORT)
    assert few.getvalue().count("1,234 documents") == 20
    assert all_of_them.getvalue().count("1,234 documents") == 2000


def test_a_table_shows_the_largest_and_sums_up_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports = [
        replace(REPORT, namespace=Namespace("db", f"c{n}"), documents=n, raw_bytes=n * 1000)
        for n in range(100)
    ]
    summary(reports, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:22]] == [f"c{n}" for n in range(80, 100)]
    assert lines[22].split()[:3] == ["80", "others", f"{sum(range(80)):,}"]
    assert lines[23].split()[:2] == ["total", f"{sum(range(100)):,}"]
    summary(reports, 1, shows_all=True)
    assert len(capsys.readouterr().out.splitlines()) == 2 + 100 + 1
