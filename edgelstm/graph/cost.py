"""Multiply-adds and parameters of a graph's layers, from shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgelstm.graph.dims import Dim, product
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.ops import infer_all
from edgelstm.graph.stored import STORED

FLOATS = ("float32", *STORED)


@dataclass(frozen=True, slots=True)
class Layer:
    """One node that multiplies by weights, or matrices of values.

    Attributes:
        op, name: as in the graph.
        size: its sizes, as people write them: `16 -> 32`.
        parameters: numbers in its weights.
        multiply_adds: of one pass; symbolic where the shapes are.
    """

    op: str
    name: str
    size: str
    parameters: int
    multiply_adds: Dim


def layers(graph: Graph) -> list[Layer]:
    """Every layer of a graph, in its order."""
    types = infer_all(graph)
    return [_layer(node, types, graph) for node in graph.nodes if node.op in COSTS]


def _layer(node: Node, types: Mapping[str, TensorType], graph: Graph) -> Layer:
    own = {name for name in node.inputs if name in graph.constants}
    return Layer(
        node.op,
        node.name or node.outputs[0] or node.op,
        _size(node, types),
        sum(graph.constants[name].size for name in own if graph.constants[name].dtype.name in FLOATS),
        COSTS[node.op](node, types),
    )


def _size(node: Node, types: Mapping[str, TensorType]) -> str:
    if node.op == "matmul":
        return f"{types[node.inputs[0]]} x {types[node.inputs[1]]}"
    weights = types[node.inputs[1]].shape
    if node.op in RECURRENT:
        direction = "" if node.attrs["direction"] == "forward" else f" {node.attrs['direction']}"
        return f"{weights[2]} -> {node.attrs['hidden_size']}{direction}"
    if node.op == "conv":
        kernel = "x".join(map(str, weights[2:]))
        return f"{weights[1]} -> {weights[0]}, kernel {kernel}"
    return f"{weights[1]} -> {weights[0]}"


def _recurrent(node: Node, types: Mapping[str, TensorType]) -> Dim:
    """A product with the input and with the state, at each step of each direction."""
    x, w, r = (types[name].shape for name in node.inputs[:3])
    each = product(w) + product(r)
    if node.op == "lstm" and len(node.inputs) > 8 and node.inputs[8]:
        each = each + product(types[node.inputs[8]].shape)  # the projection
    return x[0] * x[1] * each


def _linear(node: Node, types: Mapping[str, TensorType]) -> Dim:
    return product(types[node.outputs[0]].shape) * types[node.inputs[1]].shape[1]


def _matmul(node: Node, types: Mapping[str, TensorType]) -> Dim:
    return product(types[node.outputs[0]].shape) * types[node.inputs[0]].shape[-1]


def _conv(node: Node, types: Mapping[str, TensorType]) -> Dim:
    return product(types[node.outputs[0]].shape) * product(types[node.inputs[1]].shape[1:])


RECURRENT = ("lstm", "gru", "rnn")
COSTS: Mapping[str, Callable[[Node, Mapping[str, TensorType]], Dim]] = {
    **dict.fromkeys(RECURRENT, _recurrent),
    "linear": _linear,
    "matmul": _matmul,
    "conv": _conv,
}
