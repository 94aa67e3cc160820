"""Multiply-adds and parameters, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgelstm.graph.cost import layers
from edgelstm.graph.dims import BATCH, TIME, symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node

T, B = symbol(TIME), symbol(BATCH)


def graph(op: str, inputs: dict[str, TensorType], weights: dict[str, tuple[int, ...]], **attrs: object) -> Graph:
    constants = {name: np.zeros(shape, np.float32) for name, shape in weights.items()}
    outputs = {"lstm": ["y", "h", "c"], "gru": ["y", "h"]}.get(op, ["y"])
    node = make_node(op, [*inputs, *weights], outputs, **attrs)
    return Graph(inputs, {"y": "y"}, (node,), constants)


def cell(count: int, hidden: int, directions: int = 1) -> dict[str, object]:
    names = {3: ("Sigmoid", "Tanh", "Tanh"), 2: ("Sigmoid", "Tanh")}[count] * directions
    return {
        "hidden_size": hidden,
        "direction": "forward" if directions == 1 else "bidirectional",
        "activations": names,
        "activation_alpha": (0.0,) * len(names),
        "activation_beta": (0.0,) * len(names),
    }


@pytest.mark.parametrize(
    ("made", "parameters", "multiply_adds"),
    [
        (
            graph("linear", {"x": TensorType("float32", (T, B, 5))}, {"w": (3, 5), "b": (3,)}),
            18,
            15 * T * B,
        ),
        (
            graph("lstm", {"x": TensorType("float32", (T, B, 5))}, {"w": (1, 28, 5), "r": (1, 28, 7)}, **cell(3, 7)),
            28 * 12,
            28 * 12 * T * B,
        ),
        (
            graph("gru", {"x": TensorType("float32", (T, B, 5))}, {"w": (2, 21, 5), "r": (2, 21, 7)}, **cell(2, 7, 2)),
            2 * 21 * 12,
            2 * 21 * 12 * T * B,
        ),
        (
            graph(
                "conv",
                {"x": TensorType("float32", (B, 4, 20))},
                {"w": (6, 4, 5)},
                strides=(1,),
                pads=(0, 0),
                dilations=(1,),
                group=1,
            ),
            120,
            16 * 120 * B,
        ),
        (
            graph("matmul", {"a": TensorType("float32", (B, 3, 4)), "c": TensorType("float32", (B, 4, 5))}, {}),
            0,
            60 * B,
        ),
    ],
    ids=["linear", "lstm", "gru both ways", "conv", "matmul"],
)
def test_one_layer(made: Graph, parameters: int, multiply_adds: object) -> None:
    (layer,) = layers(made)
    assert layer.parameters == parameters
    assert layer.multiply_adds == multiply_adds
