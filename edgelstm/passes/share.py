"""Compute equal things once: nodes of one operator on the same values, constants of the same numbers."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from edgelstm.graph.ir import Graph, Node

COMMUTATIVE = ("add", "mul", "maximum", "minimum", "equal", "and", "or")


def share(graph: Graph) -> Graph:
    """The graph with every node that repeats another left out; what outputs and states show keeps its node."""
    renamed: dict[str, str] = {}
    arrays: dict[Hashable, str] = {}
    for name, array in graph.constants.items():
        kept = arrays.setdefault((array.dtype.name, array.shape, array.tobytes()), name)
        if kept != name and name not in graph.scales and kept not in graph.scales:
            renamed[name] = kept
    shown = {*graph.outputs.values(), *(state.output for state in graph.states)}
    made: dict[Hashable, Node] = {}
    nodes: list[Node] = []
    for before in graph.nodes:
        node = replace(before, inputs=tuple(renamed.get(name, name) for name in before.inputs))
        inputs = tuple(sorted(node.inputs)) if node.op in COMMUTATIVE else node.inputs
        key = (node.op, inputs, tuple(sorted(node.attrs.items(), key=lambda item: item[0])), node.every)
        first = made.setdefault(key, node)
        if first is node or shown.intersection(node.outputs) or not _covers(first, node):
            nodes.append(node)
        else:
            renamed |= {name: same for name, same in zip(node.outputs, first.outputs, strict=True) if name}
    if not renamed:
        return graph
    used = {name for node in nodes for name in node.inputs} | set(graph.outputs.values()) | set(graph.initial.values())
    constants = {name: array for name, array in graph.constants.items() if name in used}
    scales = {name: scale for name, scale in graph.scales.items() if name in constants}
    return replace(graph, nodes=tuple(nodes), constants=constants, scales=scales)


def _covers(first: Node, node: Node) -> bool:
    """Whether the first node shows all that the other one does."""
    return all(kept or not name for kept, name in zip(first.outputs, node.outputs, strict=True))
