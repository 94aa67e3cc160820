"""How long does one step of one layer take from Python, by cell and size?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.layers import Layer
from benchmarks.questions import Case, Effort, bound_of, compare, layer_call, tolerance
from benchmarks.results import Row

TITLE = "One step from Python, one thread, state carried"
UNIT = "µs"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False

SIZES = ((16, 16), (16, 32), (16, 64), (16, 128), (64, 256), (128, 512), (128, 1024))


def cases(*, quick: bool) -> list[Case]:
    """LSTM, GRU and RNN from 16 to 1024 units."""
    return layers(SIZES[1:2] if quick else SIZES, ("LSTM", "GRU") if quick else ("LSTM", "GRU", "RNN"))


def layers(sizes: Sequence[tuple[int, int]], cells: Sequence[str], *, int8: bool = False) -> list[Case]:
    """A case for each cell and size."""
    return [
        Case(f"{cell}{' int8' if int8 else ''}", f"{inputs}→{hidden}", Layer(cell, inputs, hidden, int8))
        for cell in cells
        for inputs, hidden in sizes
    ]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """`stream.step(x, out=y)`, each peer as its own documentation has it."""
    layer: Layer = case.value
    row = Row(case.group, case.label, bound=bound_of(layer))
    return [compare(row, engines, layer_call(layer), effort, same=tolerance(layer))]
