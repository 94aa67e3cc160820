"""Random graphs some of whose nodes run at some steps only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node

LEVELS = 3


def gated(graph: Graph, rng: np.random.Generator) -> Graph:
    """The graph with its steps counted, and nodes due ever more rarely the further on they stand.

    A node is due at no step at which one of its inputs is not.
    """
    if graph.tick:
        return graph
    firings = [(1, 0)]
    for _ in range(LEVELS):
        stride, first = firings[-1]
        firings.append((stride * int(rng.integers(1, 4)), first + stride * int(rng.integers(0, 3))))
    levels: dict[str, int] = {}
    nodes = []
    for node in graph.nodes:
        level = max((levels.get(name, 0) for name in node.inputs), default=0)
        if rng.random() < 0.3:
            level = min(level + 1, LEVELS)
        levels |= dict.fromkeys(filter(None, node.outputs), level)
        nodes.append(replace(node, every=firings[level]))
    one = np.ones(1, np.int32)
    return replace(
        graph,
        inputs={**graph.inputs, "tick": TensorType("int32", (1,))},
        nodes=(*nodes, make_node("add", ["tick", "tick/one"], ["tick/after"])),
        constants={**graph.constants, "tick/one": one},
        states=(State("tick", "tick/after"), *graph.states),
        tick="tick",
    )
