"""One step of one layer on int8 from Python, against the peers' int8 and our own float in the same run.

int8 is forced; beside it stands what `objective="speed"` chose on this machine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import edgelstm
from benchmarks import cells
from benchmarks.measure import Timing, interleaved

SIZES = {
    "LSTM": ((16, 32), (16, 64), (16, 128), (64, 256), (128, 512)),
    "GRU": ((16, 32), (16, 64), (16, 128), (64, 256), (128, 512)),
}


def measure(rounds: int) -> list[dict[str, object]]:
    """A row for each cell and size: microseconds, ratios, sizes of the files."""
    return [_row(cell, inputs, hidden, rounds) for cell, sizes in SIZES.items() for inputs, hidden in sizes]


def _row(cell: str, inputs: int, hidden: int, rounds: int) -> dict[str, object]:
    model = cells.layer_model(cell, inputs, hidden)
    quantized = edgelstm.quantize(model, objective="size")
    _, report = edgelstm.quantize_reported(model, objective="speed")
    calls = {"int8": _step(quantized, inputs, hidden), "float": _step(model, inputs, hidden)}
    if cell == "LSTM":
        calls["onnxruntime"] = _onnxruntime(inputs, hidden)
        if (peer := cells.litert(cell, inputs, hidden, "int8")) is not None:
            calls["litert"] = peer
    timings = interleaved(calls, rounds)
    mine = timings["int8"].median
    before, after = (_file_size(one) for one in (model, quantized))
    return {
        "layer": f"{cell} {inputs}→{hidden}",
        "int8 µs": _show(timings["int8"]),
        "float µs": _show(timings["float"]),
        "ratio to float": f"{timings['float'].median / mine:.1f}×",
        "speed chose": ", ".join(entry.kept for entry in report.entries),
        "LiteRT int8 µs": _show(timings["litert"]) if "litert" in timings else "–",
        "ratio to LiteRT": f"{timings['litert'].median / mine:.1f}×" if "litert" in timings else "–",
        "ONNX Runtime int8 µs": _show(timings["onnxruntime"]) if "onnxruntime" in timings else "–",
        "ratio to ONNX Runtime": f"{timings['onnxruntime'].median / mine:.1f}×" if "onnxruntime" in timings else "–",
        "file": f"{before / after:.1f}× smaller",
    }


def _step(model: edgelstm.Model, inputs: int, hidden: int) -> cells.Call:
    stream = model.stream()
    x, y, step = cells.reading(inputs), np.empty(hidden, np.float32), stream.step
    return lambda: step(x, out=y)


def _onnxruntime(inputs: int, hidden: int) -> cells.Call:
    """`session.run` on a file quantized as ONNX Runtime recommends for LSTMs: dynamic, per channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(cells.onnx_layer("LSTM", inputs, hidden))
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["LSTM"])
        return cells.onnxruntime_step("LSTM", inputs, hidden, target.read_bytes())


def _file_size(model: edgelstm.Model) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.edgelstm"
        model.save(path)
        return path.stat().st_size


def _show(timing: Timing) -> str:
    return f"{timing.median:.2f}"
