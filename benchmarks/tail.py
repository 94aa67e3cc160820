"""p99 of `step` alone and beside a Python thread that spins: what holding the GIL is for."""

from __future__ import annotations

import threading
import time

import numpy as np

from benchmarks import cells

STEPS = 20_000


def measure(rounds: int) -> list[dict[str, object]]:
    """A row for each layer: p50, p99, p99.9 in microseconds, alone and beside the spinning thread."""
    rows = []
    for cell, inputs, hidden in (("LSTM", 16, 32), ("LSTM", 16, 128), ("GRU", 16, 64)):
        call = cells.ours(cell, inputs, hidden)
        rows.append({"layer": f"{cell} {inputs}→{hidden}", "beside": "nothing", **_percentiles(call)})
        stop = threading.Event()
        spinner = threading.Thread(target=_spin, args=(stop,))
        spinner.start()
        try:
            rows.append({"layer": f"{cell} {inputs}→{hidden}", "beside": "a spinning thread", **_percentiles(call)})
        finally:
            stop.set()
            spinner.join()
    return rows


def _spin(stop: threading.Event) -> None:
    count = 0
    while not stop.is_set():
        count += 1


def _percentiles(call: cells.Call) -> dict[str, object]:
    """One step at a time."""
    taken = np.empty(STEPS)
    for index in range(STEPS):
        start = time.perf_counter_ns()
        call()
        taken[index] = (time.perf_counter_ns() - start) / 1e3
    return {f"p{q}": f"{np.percentile(taken, q):.2f}" for q in (50, 99, 99.9)}
