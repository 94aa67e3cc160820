"""OpenVINO on the ONNX files, compiled for latency, in float32 (its default may be bfloat16), arrays shared."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layers import Layer, onnx_file
from benchmarks.runtimes import Call, Unavailable
from benchmarks.runtimes.onnxruntime import fed_back, ports

NAME = "OpenVINO"
PACKAGE = "openvino"


def layer(layer: Layer, length: int, rows: int, threads: int) -> Call:
    if layer.int8:
        raise Unavailable("it reads no int8 recurrent node from ONNX")
    request = _request(onnx_file(layer, length, rows), {}, threads)
    infer, feeds = request.infer, {"X": layer.readings(length, rows), **layer.zeros(rows)}
    places = [(name, place) for place, name in enumerate(layer.states, 1)]

    def call() -> np.ndarray:
        results = infer(feeds, share_inputs=True)
        for name, place in places:
            feeds[name] = results[place]
        return results[0]  # type: ignore[no-any-return]

    return call


def script(layer: Layer, folder: Path) -> str:
    path = folder / "layer.onnx"
    path.write_bytes(onnx_file(layer, 1, 1))
    return f"""
import numpy as np, openvino
settings = {{"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}}
request = openvino.Core().compile_model({str(path)!r}, "CPU", settings).create_infer_request()
request.infer({{port.any_name: np.full(port.shape, 0.5, np.float32) for port in request.model_inputs}})
"""


def model(path: Path, threads: int) -> Call:
    inputs, names = ports(path)
    request = _request(path.read_bytes(), inputs, threads)

    def run(_: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        results = request.infer(feeds, share_inputs=True)
        return [results[place] for place in range(len(names))]

    return fed_back(path, run)


def _request(file: bytes, shapes: dict[str, tuple[int, ...]], threads: int) -> Any:
    import openvino

    core = openvino.Core()
    read = core.read_model(io.BytesIO(file))
    if shapes:
        read.reshape({name: list(shape) for name, shape in shapes.items()})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return core.compile_model(read, "CPU", settings).create_infer_request()
