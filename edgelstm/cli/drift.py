"""How the difference of two models grows along one stream: by step, as text and as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from edgelstm.cli.chart import NAMESPACE
from edgelstm.errors import InputError

if TYPE_CHECKING:
    from edgelstm.runtime.stream import Stream

CHUNK = 4096  # readings that are held at once
BAR = 40  # characters of the longest bar
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 960, 360, 72, 40, 40, 16
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")


@dataclass(slots=True)
class Drift:
    """One output's difference, over ranges of steps that grow by 1, 2, 5, 10.

    Attributes:
        name: of the output.
        upto: the last step of each range, counted from 1.
        max, rms: of the difference in each range.
    """

    name: str
    upto: list[int] = field(default_factory=list)
    max: list[float] = field(default_factory=list)
    rms: list[float] = field(default_factory=list)


def edges(steps: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 ... up to and with `steps`."""
    found = [scale * 10**power for power in range(len(str(steps))) for scale in (1, 2, 5)]
    return [*(edge for edge in found if edge < steps), steps]


def measure(ours: Stream, theirs: Stream, steps: int, seed: int) -> list[Drift]:
    """Feed both the same random readings, step by step.

    Raises:
        InputError: their inputs or outputs differ, or an input is not float32 (random ones would have no meaning).
    """
    import numpy as np

    if dict(ours.inputs) != dict(theirs.inputs) or dict(ours.outputs) != dict(theirs.outputs):
        raise InputError("as streams, the two models have different inputs or outputs")
    if any(kind.dtype != "float32" for kind in ours.inputs.values()):
        raise InputError("--stream: expected inputs that are all float32; compare whole sequences instead")
    rng = np.random.default_rng(seed)
    drifts = {name: Drift(name) for name, kind in ours.outputs.items() if kind.dtype == "float32"}
    done = 0
    for edge in edges(steps):
        totals = dict.fromkeys(drifts, (0.0, 0.0, 0))
        while done < edge:
            count = min(CHUNK, edge - done)
            feeds = {
                name: rng.standard_normal((count, *map(int, map(str, kind.shape))), np.float32)
                for name, kind in ours.inputs.items()
            }
            results = [_named(stream, stream.run(feeds)) for stream in (ours, theirs)]
            for name, (largest, squares, number) in totals.items():
                far = (results[0][name].astype(np.float64) - results[1][name]).ravel()
                top = float(np.abs(far).max(initial=0.0))
                totals[name] = float(np.maximum(largest, top)), squares + float(far @ far), number + far.size
            done += count
        for name, (largest, squares, number) in totals.items():
            drifts[name].upto.append(edge)
            drifts[name].max.append(largest)
            drifts[name].rms.append(math.sqrt(squares / number) if number else 0.0)
    return list(drifts.values())


def _named(stream: Stream, result: Any) -> dict[str, Any]:
    return result if isinstance(result, dict) else {next(iter(stream.outputs)): result}


def as_text(drift: Drift) -> str:
    """A bar for each range of steps, its length by the largest difference."""
    top = max(filter(math.isfinite, drift.max), default=0.0) or 1.0
    lines = [f"{drift.name}: difference by step"]
    before = 0
    for upto, largest, rms in zip(drift.upto, drift.max, drift.rms, strict=True):
        bar = "#" * round(BAR * (largest / top if math.isfinite(largest) else 1))
        lines.append(f"  {before + 1:>8} to {upto:<8} max {largest:9.3g}  rms {rms:9.3g}  {bar}")
        before = upto
    return "\n".join(lines)


def as_svg(drifts: list[Drift], title: str) -> str:
    """The largest (line) and root-mean-square (dashed) difference of each output over the steps; both axes logarithmic.

    What a logarithm cannot show, 0 and what is not finite, is left out; where nothing is left, the picture says so.
    """
    values = [value for drift in drifts for value in (*drift.max, *drift.rms) if 0 < value < math.inf]
    least, most = (min(values), max(values)) if values else (1e-8, 1.0)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    high = max(high, low + 1)
    last = max(1.0, math.log10(max(drift.upto[-1] for drift in drifts)))

    def x(step: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(step) / last

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (math.log10(value) - low) / (high - low)

    parts = [
        f'<svg xmlns="{NAMESPACE}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>')
    for power in range(int(last) + 1):
        at = x(10**power)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**power:g}</text>')
    for index, drift in enumerate(drifts):
        colour = COLOURS[index % len(COLOURS)]
        for series, dash in ((drift.max, ""), (drift.rms, ' stroke-dasharray="5 4"')):
            points = " ".join(
                f"{x(step):.1f},{y(value):.1f}"
                for step, value in zip(drift.upto, series, strict=True)
                if 0 < value < math.inf
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')
        parts.append(f'<text x="{LEFT + 8}" y="{TOP + 14 * (index + 1)}" fill="{colour}">{escape(drift.name)}</text>')
    if not values:
        what = "no finite difference" if any(value for drift in drifts for value in drift.max) else "no difference"
        parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">{what} at any step</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
