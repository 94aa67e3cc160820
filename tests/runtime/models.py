"""Small models for the tests of the runtime."""

import numpy as np

from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.runtime.model import Model

T, B = symbol("T"), symbol("B")
INPUTS, HIDDEN, OUTPUTS = 3, 5, 2


def lstm_attrs(hidden=HIDDEN, **more):
    return {
        "hidden_size": hidden,
        "activations": ("sigmoid", "tanh", "tanh"),
        "activation_alpha": (0.0,) * 3,
        "activation_beta": (0.0,) * 3,
        **more,
    }


def weights(seed=0, hidden=HIDDEN):
    rng = np.random.default_rng(seed)
    shapes = {
        "w": (1, 4 * hidden, INPUTS),
        "r": (1, 4 * hidden, hidden),
        "b": (1, 8 * hidden),
        "head.w": (OUTPUTS, hidden),
        "head.b": (OUTPUTS,),
    }
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def head(source="y", output="out"):
    return [
        make_node("reshape", [source], ["flat"], shape=(T, B, HIDDEN)),
        make_node("linear", ["flat", "head.w", "head.b"], ["late"], "head"),
        make_node("transpose", ["late"], [output], perm=(1, 0, 2)),
    ]


def forecaster(seed=0, **graph):
    """x (B, T, 3) -> y (B, T, 2): an LSTM that starts at zero, and a linear layer."""
    nodes = [
        make_node("transpose", ["x"], ["x.t"], perm=(1, 0, 2)),
        make_node("lstm", ["x.t", "w", "r", "b"], ["y"], "cell", **lstm_attrs()),
        *head(),
    ]
    inputs = {"x": TensorType("float32", (B, T, INPUTS))}
    return Graph(inputs, {"y": "out"}, tuple(nodes), weights(seed), **graph)


def stateful(seed=0, **graph):
    """The same with its state as inputs h0, c0 and outputs hn, cn."""
    whole = forecaster(seed)
    cell = make_node("lstm", ["x.t", "w", "r", "b", "", "h0", "c0"], ["y", "h", "c"], "cell", **lstm_attrs())
    nodes = tuple(cell if node.op == "lstm" else node for node in whole.nodes)
    kind = TensorType("float32", (1, B, HIDDEN))
    inputs = {**whole.inputs, "h0": kind, "c0": kind}
    return Graph(inputs, {"y": "out", "hn": "h", "cn": "c"}, nodes, whole.constants, **graph)


def last_step(seed=0):
    """x (B, T, 3) -> y (B, 2): the linear layer on the last step's output."""
    whole = forecaster(seed)
    nodes = [
        *whole.nodes[:2],
        make_node("slice", ["y"], ["end"], axes=(0,), starts=(T - 1,), stops=(T,), steps=(1,)),
        make_node("reshape", ["end"], ["flat"], shape=(B, HIDDEN)),
        make_node("linear", ["flat", "head.w", "head.b"], ["out"]),
    ]
    return Graph(whole.inputs, {"y": "out"}, tuple(nodes), whole.constants)


def readings(count, seed=1):
    return np.random.default_rng(seed).normal(0, 1, (count, INPUTS)).astype(np.float32)


def model(make=forecaster, **more):
    return Model(make(**more))
