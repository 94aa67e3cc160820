"""ncnn: a network of one recurrent layer, written as its two files say; states are further inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.layers import Layer
from benchmarks.runtimes import Call, Unavailable

NAME = "ncnn"
PACKAGE = "ncnn"

ORDER = {"LSTM": "ifoc", "GRU": "rzn", "RNN": "h"}


def layer(layer: Layer, length: int, rows: int, threads: int) -> Call:
    import ncnn

    if layer.int8:
        raise Unavailable("int8 comes from its own converter's calibration")
    if rows > 1:
        raise Unavailable("its layers take one sequence at a time")
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    weights = _weights(layer)
    net.load_param_mem(_text(layer))
    net.load_model_mem(weights)
    x = layer.readings(length)[:, 0]
    states = {name: zero[0] for name, zero in layer.zeros().items()}

    def call() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(x))
        for name, value in states.items():
            extractor.input(name, ncnn.Mat(value))
        _, y = extractor.extract("y")
        for name in states:
            states[name] = np.array(extractor.extract(f"{name}1")[1])
        return np.array(y)

    return call


def script(layer: Layer, folder: Path) -> str:
    (folder / "layer.param").write_text(_text(layer))
    (folder / "layer.bin").write_bytes(_weights(layer))
    states = "".join(f"extractor.input({name!r}, ncnn.Mat(zeros))\n" for name in layer.states)
    return f"""
import numpy as np, ncnn
net = ncnn.Net()
net.opt.num_threads = 1
net.load_param({str(folder / "layer.param")!r})
net.load_model({str(folder / "layer.bin")!r})
x, zeros = np.full((1, {layer.inputs}), 0.5, np.float32), np.zeros((1, {layer.hidden}), np.float32)
extractor = net.create_extractor()
extractor.input("x", ncnn.Mat(x))
{states}np.array(extractor.extract("y")[1])
"""


def model(path: Path, threads: int) -> Call:
    raise Unavailable("it reads no ONNX")


def _text(layer: Layer) -> str:
    states, size = layer.states, layer.gates * layer.hidden * layer.inputs
    sources, results = ["x", *states], ["y", *(f"{name}1" for name in states)]
    lines = [f"Input {name} 0 1 {name}" for name in sources]
    ports = f"{len(sources)} {len(results)} {' '.join([*sources, *results])}"
    lines.append(f"{layer.cell} cell {ports} 0={layer.hidden} 1={size} 2=0")
    return "\n".join(["7767517", f"{len(lines)} {len(sources) + len(results)}", *lines]) + "\n"


def _weights(layer: Layer) -> bytes:
    """W, the bias, R, each behind the word that says plain float32 (the bias has none)."""
    w, r, of_w, of_r = layer.reordered(ORDER[layer.cell])
    bias = of_w + of_r
    if layer.cell == "GRU":
        last = 2 * layer.hidden
        bias = np.concatenate([bias[:last], of_w[last:], of_r[last:]])
    plain = np.zeros(1, np.float32)
    return b"".join(part.astype("<f4").tobytes() for part in (plain, w, plain, bias, plain, r))
