"""ONNX Runtime: `session.run` on a file with fixed shapes, states fed back; int8 as its documentation recommends."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layers import Layer, onnx_file
from benchmarks.runtimes import Call, Unavailable

NAME = "ONNX Runtime"
PACKAGE = "onnxruntime"


def layer(layer: Layer, length: int, rows: int, threads: int) -> Call:
    found = session(quantized(layer, length, rows) if layer.int8 else onnx_file(layer, length, rows), threads)
    feeds, names = {"X": layer.readings(length, rows), **layer.zeros(rows)}, ["y", *(f"Y_{n}" for n in layer.states)]
    run, states = found.run, layer.states
    if states == ("h",):

        def call() -> np.ndarray:
            y, feeds["h"] = run(names, feeds)
            return y  # type: ignore[no-any-return]

    else:

        def call() -> np.ndarray:
            y, feeds["h"], feeds["c"] = run(names, feeds)
            return y  # type: ignore[no-any-return]

    return call


def script(layer: Layer, folder: Path) -> str:
    path = folder / "layer.onnx"
    path.write_bytes(onnx_file(layer, 1, 1))
    return f"""
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession({str(path)!r}, options, providers=["CPUExecutionProvider"])
feeds = {{port.name: np.full(port.shape, 0.5, np.float32) for port in session.get_inputs()}}
session.run(None, feeds)
"""


def model(path: Path, threads: int) -> Call:
    return fed_back(path, session(path.read_bytes(), threads).run)


def session(file: bytes, threads: int = 1) -> Any:
    """A session with so many threads; as it comes otherwise."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@cache
def quantized(layer: Layer, length: int, rows: int) -> bytes:
    """Dynamic, per channel.

    Raises:
        Unavailable: the cell is no LSTM.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if layer.cell != "LSTM":
        raise Unavailable(f"it has no int8 {layer.cell}")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(onnx_file(layer, length, rows))
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["LSTM"])
        return target.read_bytes()


def fed_back(path: Path, run: Any) -> Call:
    """One step of a file whose states are inputs and outputs; `run` takes output names and feeds, and gives a list."""
    import edgelstm

    states = {state.name: state.output for state in edgelstm.load(path).states}
    inputs, names = ports(path)
    feeds = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
    (x,) = (name for name in feeds if name not in states)
    feeds[x][...] = np.random.default_rng(0).normal(size=feeds[x].shape)
    shown = next(place for place, name in enumerate(names) if name not in states.values())
    carried = [(before, names.index(after)) for before, after in states.items()]

    def call() -> np.ndarray:
        results = run(names, feeds)
        for before, place in carried:
            feeds[before] = results[place]
        return results[shown]  # type: ignore[no-any-return]

    return call


def ports(path: Path) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Inputs with shapes (1 for a free size) and names of outputs."""
    import onnx

    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {
        port.name: tuple(dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim)
        for port in graph.input
        if port.name not in constants
    }
    return inputs, [port.name for port in graph.output]
