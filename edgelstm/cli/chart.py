"""A line chart over time as an SVG file, written by hand: a device has no plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

NAMESPACE = "http://www.w3.org/2000/svg"
WIDTH, HEIGHT = 960, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 56, 36
GAP = 3  # a line is broken where points are further apart than this many usual distances
TICKS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a name for the legend, a colour, times in seconds since 1970, values (NaN where there is none)."""

    name: str
    colour: str
    times: Sequence[float]
    values: Sequence[float]
    width: float = 1.5


def draw(lines: Sequence[Line], title: str, unit: str) -> str:
    """The chart as the text of an SVG file.

    Raises:
        ValueError: there is no finite value to draw.
    """
    values = [value for line in lines for value in line.values if math.isfinite(value)]
    times = [time for line in lines for time in line.times]
    if not values:
        raise ValueError("nothing to draw: no value is finite")
    ticks = _ticks(min(values), max(values))
    x = _scale(min(times), max(times), LEFT, WIDTH - RIGHT)
    y = _scale(min(*ticks, *values), max(*ticks, *values), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
    ]
    for tick in ticks:
        parts.append(_segment(LEFT, y(tick), WIDTH - RIGHT, y(tick)))
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for time, label in _dates(min(times), max(times)):
        parts.append(_segment(x(time), TOP, x(time), HEIGHT - BOTTOM))
        parts.append(f'<text x="{x(time):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{TOP - 10}" text-anchor="end">{escape(unit)}</text>')
    place = float(LEFT)
    for line in lines:
        parts.append(f'<rect x="{place:.0f}" y="31" width="18" height="3" fill="{line.colour}"/>')
        parts.append(f'<text x="{place + 24:.0f}" y="37">{escape(line.name)}</text>')
        place += 48 + 7 * len(line.name)
        parts.append(
            f'<path d="{_path(line, x, y)}" fill="none" stroke="{line.colour}" stroke-width="{line.width}" '
            'stroke-linejoin="round"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _path(line: Line, x: _Scale, y: _Scale) -> str:
    distances = sorted(after - before for before, after in zip(line.times, line.times[1:], strict=False))
    longest = GAP * distances[len(distances) // 2] if distances else math.inf
    parts, last = [], None
    for time, value in zip(line.times, line.values, strict=True):
        if not math.isfinite(value):
            last = None
            continue
        letter = "L" if last is not None and time - last <= longest else "M"
        parts.append(f"{letter}{x(time):.1f} {y(value):.1f}")
        last = time
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(low, high if high > low else low + 1, start, end)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between low and high, some `TICKS` of them."""
    span = (high - low) or 1
    rough = span / TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)] or [low]


def _dates(low: float, high: float) -> list[tuple[float, str]]:
    """Midnights (UTC), at most a dozen, and their labels."""
    day = 86_400
    every = max(1, math.ceil((high - low) / day / 12))
    first = math.ceil(low / day)
    return [
        (index * day, datetime.fromtimestamp(index * day, UTC).strftime("%-d %b" if every < 20 else "%b %Y"))
        for index in range(first, math.floor(high / day) + 1, every)
    ]


def _segment(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd"/>'
