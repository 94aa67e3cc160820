"""How many steps a second do 256 streams give, by layer: a pool's, and 256 others of 10,000 at each call?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.layers import Layer
from benchmarks.questions import Case, Effort
from benchmarks.questions.batches import together
from benchmarks.results import Row

TITLE = "256 streams a call by slots, one thread; the peers' states are one batch of 256 in both"
UNIT = "million steps a second"
MORE_IS_BETTER = True
THREADS = 1
ALTERNATE = False

CALL, KEYS = 256, 10_000
SIZES = ((16, 32), (16, 64), (16, 128), (64, 256))


def cases(*, quick: bool) -> list[Case]:
    """Float and int8; all streams of the pool, or 256 of 10,000."""
    kinds = [("LSTM", False)] if quick else [("LSTM", False), ("GRU", False), ("LSTM", True), ("GRU", True)]
    layers = [Layer(cell, *size, int8) for cell, int8 in kinds for size in (SIZES[:1] if quick else SIZES)]
    return [
        Case(f"{layer.cell}{' int8' if layer.int8 else ''}{name}", f"{layer.inputs}→{layer.hidden}", (layer, capacity))
        for name, capacity in (("", 0), (" of 10,000", KEYS))
        for layer in layers
    ]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """Streams are in random order where there are more than are stepped, as when devices report."""
    layer, capacity = case.value
    return [together(case, layer, CALL, engines, effort, capacity=capacity)]
