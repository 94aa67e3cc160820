"""How long is the tail of our own step, alone and beside a Python thread that spins: what holding the GIL is for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.layers import Layer
from benchmarks.measure import Timing
from benchmarks.questions import Case, Effort
from benchmarks.results import Row
from benchmarks.runtimes import Call, runtime

TITLE = "Steps back to back, alone and beside a spinning Python thread, two processors"
UNIT = "µs"
MORE_IS_BETTER = False
THREADS = 2
ALTERNATE = False

STEPS = 20_000


def cases(*, quick: bool) -> list[Case]:
    """Three layers, each alone and in company."""
    layers = [Layer("LSTM", 16, 32), Layer("LSTM", 16, 128), Layer("GRU", 16, 64)]
    return [
        Case(f"{layer}, {beside}", "", (layer, beside != "alone"))
        for layer in layers[: 1 if quick else 3]
        for beside in ("alone", "beside a spinning thread")
    ]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """p50, p99, p99.9 of one step at a time; ours only."""
    layer, company = case.value
    rows = [Row(case.group, f"p{q:g}") for q in (50, 99, 99.9)]
    if "edgelstm" not in engines:
        return rows
    call = runtime("edgelstm").layer(layer, 1, 1, 1)
    stop = threading.Event()
    spinner = threading.Thread(target=_spin, args=(stop,))
    if company:
        spinner.start()
    try:
        taken = _steps(call, 500 if effort.quick else STEPS)
    finally:
        stop.set()
        if company:
            spinner.join()
    for row, value in zip(rows, np.percentile(taken, (50, 99, 99.9)).tolist(), strict=True):
        row.figures["edgelstm"] = Timing(value, value, value)
    return rows


def _spin(stop: threading.Event) -> None:
    count = 0
    while not stop.is_set():
        count += 1


def _steps(call: Call, count: int) -> np.ndarray:
    taken = np.empty(count)
    for index in range(count):
        start = time.perf_counter_ns()
        call()
        taken[index] = (time.perf_counter_ns() - start) / 1e3
    return taken
