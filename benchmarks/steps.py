"""One step of one layer from Python, by size and cell, against the peers in the same run."""

from __future__ import annotations

from benchmarks import cells
from benchmarks.bounds import Limits
from benchmarks.measure import Timing, interleaved

SIZES = ((16, 32), (16, 64), (16, 128), (64, 256))


def measure(rounds: int) -> list[dict[str, object]]:
    """A row for each cell and size: microseconds, ratios, and the bound of the machine."""
    limits = Limits()
    return [_row(cell, inputs, hidden, rounds, limits) for cell in ("LSTM", "GRU") for inputs, hidden in SIZES]


def _row(cell: str, inputs: int, hidden: int, rounds: int, limits: Limits) -> dict[str, object]:
    calls = {
        "out": cells.ours(cell, inputs, hidden),
        "allocating": cells.ours(cell, inputs, hidden, allocate=True),
        "onnxruntime": cells.onnxruntime(cell, inputs, hidden),
    }
    if (peer := cells.litert(cell, inputs, hidden)) is not None:
        calls["litert"] = peer
    timings = interleaved(calls, rounds)
    bound = limits.step(cells.GATES[cell] * hidden * (inputs + hidden))
    mine = timings["out"]
    return {
        "layer": f"{cell} {inputs}→{hidden}",
        "step(out=) µs": _show(mine),
        "step() µs": _show(timings["allocating"]),
        "ONNX Runtime µs": _show(timings["onnxruntime"]),
        "ratio to ONNX Runtime": f"{timings['onnxruntime'].median / mine.median:.1f}×",
        "LiteRT µs": _show(timings["litert"]) if "litert" in timings else "–",
        "ratio to LiteRT": f"{timings['litert'].median / mine.median:.1f}×" if "litert" in timings else "–",
        "bound µs": f"{bound.microseconds:.2f} ({bound.reason})",
    }


def _show(timing: Timing) -> str:
    return f"{timing.median:.2f} ({timing.low:.2f}–{timing.high:.2f})"
