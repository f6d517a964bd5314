"""Print and draw the results of a benchmark: `python -m benchmarks.charts RESULTS.json FOLDER`."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabulate import tabulate

__all__ = ["draw", "main", "tell"]

Row = dict[str, Any]

_COLOURS = {
    "fastdump": "#1b7f5c", "fastdump, komodo-json": "#7fb8a4", "mongodump": "#8a8f98",
    "mongodump --gzip": "#5b6169", "plain script": "#c2c6cc", "mongorestore --gzip": "#5b6169",
    "mongorestore --gzip, 4 workers": "#8a8f98", "backup": "#1b7f5c", "restore": "#c77d1e",
}  # fmt: skip


def _grouped(results: list[Row], *sections: str) -> dict[tuple[str, str, str], list[Row]]:
    found = defaultdict(list)
    for row in results:
        if not sections or row["section"] in sections:
            found[row["section"], row["data"], row["tool"]].append(row)
    return found


def _median(rows: list[Row], name: str) -> float:
    return float(statistics.median(row[name] for row in rows))


def tell(path: Path) -> None:
    """Print all results as a table, with medians and with ratios to fastdump's time."""
    results = json.loads(path.read_text())["results"]
    groups = _grouped([row for row in results if "seconds" in row])
    lines = []
    for (section, data, tool), rows in groups.items():
        seconds = [row["seconds"] for row in rows]
        own = groups.get((section, data, "fastdump"))
        times = f"{_median(rows, 'seconds') / _median(own, 'seconds'):.2f}" if own else ""
        lines.append(
            (
                section,
                data,
                tool,
                f"{_median(rows, 'seconds'):.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
                times,
                f"{_median(rows, 'user_seconds'):.1f} + {_median(rows, 'system_seconds'):.1f}",
                f"{_median(rows, 'server_seconds'):.1f}",
                f"{_median(rows, 'tree_bytes') / 1e6:.0f}",
                f"{_median(rows, 'process_bytes') / 1e6:.0f}",
                f"{_median(rows, 'written_bytes') / 1e6:.0f}",
            )
        )
    headers = (
        "work", "data", "tool", "seconds (min to max)", "times fastdump's", "client CPU s",
        "server CPU s", "peak MB", "largest process MB", "written MB",
    )  # fmt: skip
    print(tabulate(lines, headers, disable_numparse=True, tablefmt="github"))
    written = [
        (tool, f"{_median(rows, 'alone'):,.0f}", f"{_median(rows, 'writes'):,.0f}",
         f"{_median(rows, 'writes') / _median(rows, 'alone'):.2f}")
        for (_section, data, tool), rows in groups.items() if data == "written to"
    ]  # fmt: skip
    if written:
        names = ("tool", "writes a second before", "during the backup", "share")
        print(f"\n{tabulate(written, names, disable_numparse=True, tablefmt='github')}")


def draw(path: Path, folder: Path) -> None:
    """Draw the charts as SVG and PNG, without the parts that were not measured."""
    import matplotlib as mpl

    mpl.use("Agg")
    results = json.loads(path.read_text())["results"]
    for name, section in (("backup", "backup"), ("restore", "restore")):
        if any(row["section"] == section for row in results):
            _bars(results, name, folder)
    _line(results, "growth", "size of the data (times 1.3 GB)", "seconds per GB", folder, _per_gb)
    _line(results, "workers", "workers", "seconds", folder, lambda rows: _median(rows, "seconds"))
    _compared(results, "many", "collections", folder)
    _compared(results, "distance", "round trip in milliseconds", folder)
    _fortnight(results, folder)


def _bars(results: list[Row], name: str, folder: Path) -> None:
    from matplotlib import pyplot as plt

    sections = ("backup",) if name == "backup" else ("restore", "restore again")
    groups = [
        (key, rows) for key, rows in _grouped(results, *sections).items() if key[1] == "komodo"
    ]
    figure, axes = plt.subplots(figsize=(7.5, 0.55 * len(groups) + 1))
    for place, ((_section, _data, tool), rows) in enumerate(reversed(groups)):
        seconds = _median(rows, "seconds")
        axes.barh(place, seconds, color=_COLOURS.get(tool, "#8a8f98"))
        axes.text(seconds, place, f" {seconds:.1f} s", va="center")
    labels = [
        tool if section == name else f"{tool}, again" for (section, _d, tool), _rows in groups
    ]
    axes.set_yticks(range(len(groups)), labels[::-1])
    axes.set_xlabel("seconds, median")
    axes.set_title(f"{name} of a Komodo-shaped database")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, folder / name)


def _per_gb(rows: list[Row]) -> float:
    factor = int(rows[0]["data"].split("x")[1])
    return _median(rows, "seconds") / (1.309 * factor)


def _line(
    results: list[Row],
    section: str,
    x: str,
    y: str,
    folder: Path,
    value: Callable[[list[Row]], float],
) -> None:
    groups = _grouped(results, section)
    if not groups:
        return
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for tool in ("backup", "restore"):
        points = [
            (int(data.split("x")[-1]), value(rows), _median(rows, "tree_bytes") / 1e6)
            for (_section, data, found), rows in groups.items()
            if found == tool
        ]
        for axes, column in ((left, 1), (right, 2)):
            axes.plot(
                [point[0] for point in points],
                [point[column] for point in points],
                marker="o",
                label=tool,
                color=_COLOURS[tool],
            )
    for axes, label in ((left, y), (right, "peak memory of all processes, MB")):
        axes.set_xlabel(x)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.legend()
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, folder / section)


def _compared(results: list[Row], section: str, x: str, folder: Path) -> None:
    """Draw the times of all tools, for backups on the left and restores on the right."""
    groups = _grouped(results, f"{section}, backup", f"{section}, restore")
    if not groups:
        return
    from matplotlib import pyplot as plt

    figure, both = plt.subplots(1, 2, figsize=(9, 3.2))
    for axes, work in zip(both, ("backup", "restore"), strict=True):
        of_work = {key: rows for key, rows in groups.items() if key[0].endswith(work)}
        for tool in dict.fromkeys(tool for _section, _data, tool in of_work):
            points = sorted(
                (int(data), _median(rows, "seconds"))
                for (_section, data, found), rows in of_work.items()
                if found == tool
            )
            axes.plot(*zip(*points, strict=True), marker="o", label=tool, color=_COLOURS[tool])
        axes.set_title(work)
        axes.set_xlabel(x)
        axes.set_ylabel("seconds")
        axes.set_ylim(bottom=0)
        axes.legend()
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, folder / section)


def _fortnight(results: list[Row], folder: Path) -> None:
    """Draw the space of all backups, day by day."""
    rows = [row for row in results if row["section"] == "fortnight"]
    if not rows:
        return
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 3.2))
    labels = {"komodo": "dated folders", "repository": "repository"}
    for layout, colour in (("komodo", "#8a8f98"), ("repository", "#1b7f5c")):
        points = [
            (int(row["data"]), row["written_bytes"] / 1e6) for row in rows if row["tool"] == layout
        ]
        axes.plot(*zip(*points, strict=True), marker="o", label=labels[layout], color=colour)
    axes.set_xlabel("daily backups of a database that grows by 1 % a day")
    axes.set_ylabel("size of all, MB")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, folder / "fortnight")


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path.with_suffix(".svg"))
    figure.savefig(path.with_suffix(".png"), dpi=120)


def main() -> None:
    """Run the command."""
    results, folder = map(Path, sys.argv[1:])
    tell(results)
    draw(results, folder)


if __name__ == "__main__":
    main()
