"""How many steps a second do 256 streams give: of one pool, or 256 others of 10,000 at each call, by slots or name?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.layers import Layer
from benchmarks.questions import Case, Effort
from benchmarks.questions.batches import together
from benchmarks.results import Row

TITLE = "256 streams a call, one thread; the peers' states are one batch of 256 in both"
UNIT = "million steps a second"
MORE_IS_BETTER = True
THREADS = 1
ALTERNATE = False

CALL, KEYS = 256, 10_000
SIZES = ((16, 32), (16, 64), (16, 128), (64, 256))


def cases(*, quick: bool) -> list[Case]:
    """Float and int8; all streams of the pool, or 256 of 10,000; float LSTMs also by names."""
    kinds = [("LSTM", False)] if quick else [("LSTM", False), ("GRU", False), ("LSTM", True), ("GRU", True)]
    layers = [Layer(cell, *size, int8) for cell, int8 in kinds for size in (SIZES[:1] if quick else SIZES)]
    ways = [("", 0, "slots"), (" of 10,000", KEYS, "slots")]
    ways += [(f" of 10,000 by {keys}", KEYS, keys) for keys in ("names", "new names")]
    return [
        Case(f"{layer.cell}{' int8' if layer.int8 else ''}{name}", f"{layer.inputs}→{layer.hidden}", (layer, *how))
        for name, *how in ways
        for layer in layers
        if how[1] == "slots" or (layer.cell == "LSTM" and not layer.int8)
    ]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """Streams are in random order where there are more than are stepped, as when devices report."""
    layer, capacity, keys = case.value
    return [together(case, layer, CALL, engines, effort, capacity=capacity, keys=keys)]
