"""One program of one instruction for each kernel; recurrent ones as a stream steps them. Run by `compare`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.layers import Layer
from benchmarks.runtimes import edgelstm as ours
from edgelstm.graph.bind import bind
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.lowering import lower
from edgelstm.runtime.executors import make_executor

RECURRENT = [
    Layer(cell, 16, hidden, int8) for cell in ("LSTM", "GRU", "RNN") for hidden in (32, 128) for int8 in (False, True)
]
# name → operator, shapes of what is given at run time, shapes of constants, attributes
OTHERS: dict[str, tuple[str, tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...], dict[str, Any]]] = {
    "linear 128→128": ("linear", ((1, 128),), ((128, 128), (128,)), {}),
    "linear 128→128, 64 rows": ("linear", ((64, 128),), ((128, 128), (128,)), {}),
    "matmul 64×64×64": ("matmul", ((64, 64), (64, 64)), (), {}),
    "conv1d 32→32, 64 long": (
        "conv",
        ((1, 32, 64),),
        ((32, 32, 3), (32,)),
        {"pads": (1, 1), "strides": (1,), "dilations": (1,)},
    ),
    "softmax 8×64": ("softmax", ((8, 64),), (), {"axis": 1}),
    "layer_norm 8×128": ("layer_norm", ((8, 128),), ((128,), (128,)), {"axis": 1}),
    "tanh 1024": ("tanh", ((1, 1024),), (), {}),
    "add 1024": ("add", ((1, 1024), (1, 1024)), (), {}),
    "reduce_mean 16×64": ("reduce_mean", ((16, 64),), (), {"axes": (1,), "keepdims": 0}),
    "transpose 64×64": ("transpose", ((64, 64),), (), {"perm": (1, 0)}),
}


@pytest.mark.parametrize("layer", RECURRENT, ids=str)
def test_step(benchmark: Any, layer: Layer) -> None:
    benchmark(ours.layer(layer, 1, 1, 1))


@pytest.mark.parametrize("layer", [layer for layer in RECURRENT if layer.hidden == 128], ids=str)
def test_rows(benchmark: Any, layer: Layer) -> None:
    benchmark(ours.layer(layer, 1, 64, 1))


@pytest.mark.parametrize("name", OTHERS)
def test_operator(benchmark: Any, name: str) -> None:
    benchmark(_operator(*OTHERS[name]))


def _operator(
    op: str, inputs: tuple[tuple[int, ...], ...], constants: tuple[tuple[int, ...], ...], attributes: dict[str, Any]
) -> Callable[[], object]:
    """A call of a program of one node."""
    rng = np.random.default_rng(0)
    free = {f"x{index}": TensorType("float32", shape) for index, shape in enumerate(inputs)}
    fixed = {f"k{index}": rng.normal(size=shape).astype(np.float32) for index, shape in enumerate(constants)}
    nodes = (make_node(op, [*free, *fixed], ["y"], **attributes),)
    executor = make_executor(lower(bind(Graph(inputs=free, outputs={"y": "y"}, nodes=nodes, constants=fixed), {})))
    for view in executor.arenas.inputs.values():
        view[...] = rng.normal(size=view.shape)
    return partial(executor.execute, False)
