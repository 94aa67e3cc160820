"""How long does one step take on int8 weights, by cell and size, beside our own float?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.layers import Layer
from benchmarks.questions import Case, Effort, bound_of, compare, steps, tolerance
from benchmarks.results import Row
from benchmarks.runtimes import Call, runtime

TITLE = "One step from Python on int8 weights (forced), one thread"
UNIT = "µs"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False


def cases(*, quick: bool) -> list[Case]:
    """As `steps`, for the cells that have an int8 form somewhere else."""
    return steps.layers(steps.SIZES[1:2] if quick else steps.SIZES, ("LSTM", "GRU"), int8=True)


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """All on int8 except "edgelstm float"."""
    layer: Layer = case.value

    def make(name: str) -> Call:
        if name == "edgelstm float":
            return runtime("edgelstm").layer(replace(layer, int8=False), 1, 1, 1)
        return runtime(name).layer(layer, 1, 1, 1)

    names = [*engines, *(["edgelstm float"] if "edgelstm" in engines else [])]
    row = Row(case.group, case.label, bound=bound_of(layer))
    return [compare(row, names, make, effort, same=tolerance(layer))]
