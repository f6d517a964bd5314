"""Plots as the marks of an SVG drawing, which the page's template draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["HEIGHT", "LEFT", "WIDTH", "Bar", "Chart", "Point", "bars", "sparkline"]

WIDTH, HEIGHT = 640, 180
"""Size of a chart in the units of its drawing."""

LEFT = 72
"""Room for the labels on the left."""

_BOTTOM, _TOP = 22, 10
_WIDEST = 28
_LINES = 4
"""About this many lines across a chart."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value to show."""

    when: datetime
    value: float
    about: str
    """Text that appears under a pointer."""
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, in the units of the drawing."""

    x: float
    y: float
    width: float
    height: float
    about: str
    bad: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars over time with horizontal lines."""

    title: str
    bars: tuple[Bar, ...]
    lines: tuple[tuple[float, str], ...]
    """Height and label of each line across."""
    days: tuple[tuple[float, str, str], ...]
    """Place, label and anchor of the first and the last day."""


def bars(title: str, points: Sequence[Point], label: Callable[[float], str]) -> Chart:
    """Return a chart of values at their times.

    Args:
        title: the title.
        points: at least one value, oldest first.
        label: turns a value into words.
    """
    top = max(point.value for point in points) or 1
    step = _step(top)
    highest = math.ceil(top / step) * step
    begin, end = points[0].when.timestamp(), points[-1].when.timestamp()
    width = min(_WIDEST, 0.7 * (WIDTH - LEFT) / len(points))
    room = WIDTH - LEFT - width

    def x(point: Point) -> float:
        share = (point.when.timestamp() - begin) / (end - begin) if end > begin else 0.5
        return LEFT + share * room

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _BOTTOM - _TOP) * (1 - value / highest)

    drawn = [
        Bar(x(one), y(one.value), width, y(0) - y(one.value), one.about, one.bad) for one in points
    ]
    values = [number * step for number in range(round(highest / step) + 1)]
    first, last = f"{points[0].when:%Y-%m-%d}", f"{points[-1].when:%Y-%m-%d}"
    days = [(float(LEFT), first, "start")] + ([(float(WIDTH), last, "end")] * (first != last))
    return Chart(title, tuple(drawn), tuple((y(one), label(one)) for one in values), tuple(days))


def sparkline(values: Sequence[float], width: int = 120, height: int = 24) -> str:
    """Return the points of a polyline that shows how a value went; empty if there are too few."""
    if len(values) < 2:
        return ""
    top = max(values) or 1
    return " ".join(
        f"{number * width / (len(values) - 1):.1f},{(height - 2) * (1 - value / top) + 1:.1f}"
        for number, value in enumerate(values)
    )


def _step(top: float) -> float:
    """Return a round distance between lines: 1, 2 or 5 times a power of ten."""
    power: float = 10 ** math.floor(math.log10(top / _LINES))
    return next(power * one for one in (1, 2, 5, 10) if power * one * _LINES >= top)
