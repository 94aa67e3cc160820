"""Give sizes to a graph's free dimensions, or new names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgelstm.errors import InputError
from edgelstm.graph.dims import Dim, Expr, substitute, substitute_shape, symbols
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.ops import infer_all, make_node


def free_symbols(graph: Graph) -> tuple[str, ...]:
    """Names of the free dimensions of a graph's inputs, sorted."""
    names: set[str] = set()
    for kind in graph.inputs.values():
        for dim in kind.shape:
            names |= symbols(dim)
    return tuple(sorted(names))


def substitute_graph(graph: Graph, binding: Mapping[str, Dim]) -> Graph:
    """The same graph with the symbols named in `binding` replaced everywhere.

    Raises:
        InputError: the graph does not fit together at these sizes.
    """

    def value(attr: Any) -> Any:
        if isinstance(attr, Expr):
            return substitute(attr, binding)
        if isinstance(attr, tuple):
            return tuple(value(item) for item in attr)
        return attr

    bound = replace(
        graph,
        inputs={
            name: TensorType(kind.dtype, substitute_shape(kind.shape, binding)) for name, kind in graph.inputs.items()
        },
        nodes=tuple(replace(node, attrs={k: value(v) for k, v in node.attrs.items()}) for node in graph.nodes),
        frozen={name: size for name, size in graph.frozen.items() if name not in binding},
    )
    infer_all(bound)
    return bound


def bind(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph at concrete sizes, with start states repeated to the batch.

    Raises:
        InputError: a size is missing, or the graph does not fit together at these sizes.
    """
    if missing := set(free_symbols(graph)) - set(sizes):
        raise InputError(f"sizes for {', '.join(sorted(missing))} are missing")
    bound = substitute_graph(graph, sizes)
    types = infer_all(bound)
    for name, kind in types.items():
        if any(isinstance(dim, int) and dim < 0 for dim in kind.shape):
            raise InputError(f"{name!r} would have the shape {kind} at these sizes: {dict(sizes)}")
    nodes: list[Node] = []
    for node in bound.nodes:
        cell = node.op in ("rnn", "gru", "lstm")
        nodes.append(_repeat_start_states(node, types, nodes) if cell else node)
    return replace(bound, nodes=tuple(nodes))


def _repeat_start_states(node: Node, types: Mapping[str, TensorType], nodes: list[Node]) -> Node:
    """A start state given once for all rows is repeated, so that kernels see one form."""
    batch = types[node.inputs[0]].shape[1]
    inputs = list(node.inputs)
    for index in (5, 6)[: 2 if node.op == "lstm" else 1]:
        name = inputs[index]
        if name and types[name].shape[1] != batch:
            shape = (types[name].shape[0], batch, types[name].shape[2])
            inputs[index] = f"{next(filter(None, node.outputs))}/{'h0' if index == 5 else 'c0'}"
            nodes.append(make_node("broadcast", [name], [inputs[index]], node.name, shape=shape))
    return replace(node, inputs=tuple(inputs))
