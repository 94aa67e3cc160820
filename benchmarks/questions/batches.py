"""How many steps a second, by how many streams step together?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.layers import Layer
from benchmarks.questions import Case, Effort, compare, layer_call, tolerance
from benchmarks.results import Row
from benchmarks.runtimes import Call

TITLE = "Streams that step together, by slots of a pool, one thread"
UNIT = "million steps a second"
MORE_IS_BETTER = True
THREADS = 1
ALTERNATE = False

LAYERS = (Layer("LSTM", 16, 32), Layer("LSTM", 16, 128), Layer("GRU", 16, 128), Layer("LSTM", 16, 128, int8=True))
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)


def cases(*, quick: bool) -> list[Case]:
    """From 1 to 4096 streams."""
    layers, batches = (LAYERS[:1], (4,)) if quick else (LAYERS, BATCHES)
    return [Case(str(layer), f"{rows}", (layer, rows)) for layer in layers for rows in batches]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """A pool of so many streams (a stream where it is one), a batch of as many rows for the peers."""
    layer, rows = case.value
    return [together(case, layer, rows, engines, effort)]


def together(
    case: Case,
    layer: Layer,
    rows: int,
    engines: Sequence[str],
    effort: Effort,
    *,
    capacity: int = 0,
    keys: str = "slots",
) -> Row:
    """Million steps a second of so many rows; ours out of `capacity` streams, or of so many as there are rows."""

    def make(name: str) -> Call:
        if name != "edgelstm" or not capacity:
            return layer_call(layer, 1, rows)(name)
        from benchmarks.runtimes import edgelstm

        return edgelstm.pool_step(edgelstm.layer_model(layer), layer.readings(1, rows)[0], capacity, keys=keys)

    same = None if capacity else tolerance(layer)
    row = compare(Row(case.group, case.label), engines, make, effort, same=same)
    row.figures = {name: timing.rate(rows) for name, timing in row.figures.items()}
    return row
