"""tract on the ONNX files, through its Python package, shapes fixed and the model optimised."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layers import Layer, onnx_file
from benchmarks.runtimes import Call, Unavailable
from benchmarks.runtimes.onnxruntime import fed_back, ports

NAME = "tract"
PACKAGE = "tract"


def layer(layer: Layer, length: int, rows: int, threads: int) -> Call:
    if layer.int8:
        raise Unavailable("it reads no int8 recurrent node from ONNX")
    if threads > 1:
        raise Unavailable("its Python package has no option for threads")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.onnx"
        path.write_bytes(onnx_file(layer, length, rows))
        run = _state(path, {})
    x, states = layer.readings(length, rows), list(layer.zeros(rows).values())

    def call() -> np.ndarray:
        results = run([x, *states])
        states[:] = [result.to_numpy() for result in results[1:]]
        return results[0].to_numpy()  # type: ignore[no-any-return]

    return call


def script(layer: Layer, folder: Path) -> str:
    path = folder / "layer.onnx"
    path.write_bytes(onnx_file(layer, 1, 1))
    shapes = [(1, 1, layer.inputs), *[(1, 1, layer.hidden)] * len(layer.states)]
    return f"""
import numpy as np, tract
run = tract.onnx().load({str(path)!r}).into_model().into_runnable().spawn_state().run
run([np.full(shape, 0.5, np.float32) for shape in {shapes}])[0].to_numpy()
"""


def model(path: Path, threads: int) -> Call:
    inputs, _ = ports(path)
    run = _state(path, inputs)
    return fed_back(path, lambda names, feeds: [each.to_numpy() for each in run(list(feeds.values()))])


def _state(path: Path, shapes: dict[str, tuple[int, ...]]) -> Any:
    import tract

    try:
        loaded = tract.onnx().load(path)
        for place, shape in enumerate(shapes.values()):
            loaded.set_input_fact(place, ",".join([*map(str, shape), "f32"]))
        return loaded.into_model().into_runnable().spawn_state().run
    except tract.TractError as error:
        raise Unavailable(f"it refuses the file: {str(error).splitlines()[0]}") from None
