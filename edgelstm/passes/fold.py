"""Fold what is known before anything runs: a choice with a constant condition is the branch that it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelstm.graph.ir import Graph, Node
from edgelstm.graph.ops import infer_all, make_node


def fold_choices(graph: Graph) -> Graph:
    """The graph with every `where` of a uniform constant condition replaced by the branch that it takes."""
    types = infer_all(graph)
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    shown = {*graph.outputs.values(), *(state.output for state in graph.states)}
    for before in graph.nodes:
        node = replace(before, inputs=tuple(renamed.get(name, name) for name in before.inputs))
        branch = _taken(graph, node) if node.op == "where" else None
        if branch is None or types[branch] != types[node.outputs[0]]:
            nodes.append(node)
        elif node.outputs[0] in shown:
            nodes.append(make_node("identity", [branch], node.outputs, node.name))
        else:
            renamed[node.outputs[0]] = branch
    return replace(graph, nodes=tuple(nodes)) if tuple(nodes) != graph.nodes else graph


def _taken(graph: Graph, node: Node) -> str | None:
    condition = graph.constants.get(node.inputs[0])
    if condition is None or not condition.size or np.any(condition != condition.flat[0]):
        return None
    return node.inputs[1] if condition.flat[0] else node.inputs[2]
