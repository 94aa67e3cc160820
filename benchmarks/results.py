"""What a question gives: rows of figures, merged over runs, as plain values for JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.measure import Timing


@dataclass(slots=True)
class Row:
    """One line of a table: a figure for each engine, or why there is none."""

    group: str  # the panel of the picture
    label: str  # the place on its axis
    figures: dict[str, Timing] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    bound: float | None = None
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells rows of a question apart."""
        return self.group, self.label

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def from_plain(content: Mapping[str, Any]) -> Row:
    """The opposite of `Row.plain`."""
    figures = {name: Timing(**timing) for name, timing in content["figures"].items()}
    return Row(**{**content, "figures": figures})


def merge(runs: Iterable[Iterable[Row]]) -> list[Row]:
    """Rows of several runs, or of several engines' processes: medians of medians, the widest spread."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for run in runs:
        for row in run:
            rows.setdefault(row.key, []).append(row)
    return [_merged(same) for same in rows.values()]


def _merged(same: list[Row]) -> Row:
    timings: dict[str, list[Timing]] = {}
    for row in same:
        for name, timing in row.figures.items():
            timings.setdefault(name, []).append(timing)
    figures = {
        name: Timing(
            statistics.median(timing.median for timing in found),
            min(timing.low for timing in found),
            max(timing.high for timing in found),
        )
        for name, found in timings.items()
    }
    missing = {name: why for row in same for name, why in row.missing.items() if name not in figures}
    bounds = [row.bound for row in same if row.bound is not None]
    group, label = same[0].key
    return Row(group, label, figures, missing, statistics.median(bounds) if bounds else None, same[0].note)
