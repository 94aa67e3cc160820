"""What does a call from Python cost over the kernel itself?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.layers import Layer
from benchmarks.measure import Timing, interleaved
from benchmarks.questions import Case, Effort
from benchmarks.results import Row
from benchmarks.runtimes import edgelstm as ours

TITLE = "`stream.step` from Python over the same kernel called from compiled code"
UNIT = "µs"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False

LENGTH = 1000


def cases(*, quick: bool) -> list[Case]:
    """A size at which the call is most of the time, and a usual one."""
    layers = [Layer("LSTM", 16, 16), Layer("GRU", 16, 16), Layer("LSTM", 16, 32)]
    return [Case("overhead", str(layer), layer) for layer in layers[: 1 if quick else 3]]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """The kernel: per step of `stream.run`, which loops over the same instructions in compiled code."""
    row = Row(case.group, case.label)
    if "edgelstm" not in engines:
        return [row]
    layer: Layer = case.value
    stream = ours.layer_model(layer).stream()
    x, y, step = layer.readings()[0, 0], np.empty(layer.hidden, np.float32), stream.step
    run = ours.layer(layer, LENGTH, 1, 1)
    calls = {"step(out=)": lambda: step(x, y), "step()": lambda: step(x), "kernel": run}
    timings = interleaved(calls, effort.rounds, effort.seconds)
    timings["kernel"] = timings["kernel"].scaled(1 / LENGTH)
    over = timings["step(out=)"].median - timings["kernel"].median
    row.figures = {**timings, "step(out=) less kernel": Timing(over, over, over)}
    return [row]
