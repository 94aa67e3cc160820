"""How even is a step at a 1 kHz tick, each call after a sleep?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.layers import Layer
from benchmarks.measure import Timing, spread
from benchmarks.questions import Case, Effort, unavailable
from benchmarks.results import Row
from benchmarks.runtimes import Call, runtime

TITLE = "A step at each tick of 1 kHz, asleep between: percentiles of the call; jitter is p99.9 less p50"
UNIT = "µs"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False

TICK = 1e-3
BLOCK, BLOCKS = 500, 8  # ticks that an engine takes before the next one has its turn, and turns


def cases(*, quick: bool) -> list[Case]:
    """Two sizes."""
    layers = [Layer("LSTM", 16, 32), Layer("LSTM", 16, 128)]
    return [Case(str(layer), "", layer) for layer in layers[: 1 if quick else 2]]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """A row for each percentile; the spread is over the blocks."""
    names = ("p50", "p99", "p99.9", "jitter")
    rows = {name: Row(case.group, name) for name in names}
    calls: dict[str, Call] = {}
    for name in engines:
        for row in rows.values():
            with unavailable(row, name):
                calls[name] = runtime(name).layer(case.value, 1, 1, 1)
    block, blocks = (30, 2) if effort.quick else (BLOCK, BLOCKS)
    taken: dict[str, list[np.ndarray]] = {name: [] for name in calls}
    for _ in range(blocks):
        for name, call in calls.items():
            taken[name].append(ticks(call, block))
    for name, found in taken.items():
        for label, values in _percentiles(found).items():
            rows[label].figures[name] = values
    return list(rows.values())


def ticks(call: Call, count: int) -> np.ndarray:
    """Microseconds of each call."""
    taken = np.empty(count)
    due = time.perf_counter()
    for index in range(count):
        due += TICK
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        start = time.perf_counter_ns()
        call()
        taken[index] = (time.perf_counter_ns() - start) / 1e3
    return taken


def _percentiles(blocks: list[np.ndarray]) -> dict[str, Timing]:
    """Of all calls together, with the quartiles over blocks."""
    whole = np.concatenate(blocks)

    def each(values: np.ndarray) -> dict[str, float]:
        p50, p99, p999 = np.percentile(values, (50, 99, 99.9))
        return {"p50": p50, "p99": p99, "p99.9": p999, "jitter": p999 - p50}

    parts = [each(block) for block in blocks]
    between = {name: spread([part[name] for part in parts]) for name in parts[0]}
    return {name: Timing(value, between[name].low, between[name].high) for name, value in each(whole).items()}
