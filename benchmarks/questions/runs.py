"""How long does a step take inside one call over a long sequence?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.layers import Layer
from benchmarks.questions import Case, Effort, bound_of, compare, layer_call, steps, tolerance
from benchmarks.results import Row

TITLE = "A step inside one call over a long sequence, one thread"
UNIT = "µs a step"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False

LONG = 256  # from so many units on a sequence has 100 readings, else 1000


def cases(*, quick: bool) -> list[Case]:
    """As `steps`, float and int8."""
    sizes = steps.SIZES[1:2] if quick else steps.SIZES[1:]
    return [*steps.layers(sizes, ("LSTM", "GRU")), *steps.layers(sizes, ("LSTM", "GRU"), int8=True)]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """`stream.run`, the peers' whole sequences."""
    layer: Layer = case.value
    length = 100 if layer.hidden >= LONG or effort.quick else 1000
    row = Row(case.group, case.label, bound=bound_of(layer), note=f"T = {length}")
    make = layer_call(layer, length)
    return [compare(row, engines, make, effort, scale=1 / length, same=2 * tolerance(layer))]
