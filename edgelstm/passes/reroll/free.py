"""Free the length, and the batch, of layers that were put together from steps."""

from __future__ import annotations

from dataclasses import replace

from edgelstm.graph.bind import free_symbols
from edgelstm.graph.dims import BATCH, TIME, Dim, symbols
from edgelstm.graph.ir import Graph
from edgelstm.graph.ops import infer_all
from edgelstm.passes.reroll.length import CELLS, Axis, FixedSizeError, free_axes


def free_sizes(graph: Graph, layers: set[str]) -> Graph:
    """The graph with the number of steps of its layers, and of rows, made free where it may be.

    Args:
        graph: with layers over a fixed number of steps.
        layers: outputs of the nodes that were put together from several steps.

    Returns:
        T is a symbol that stands for the exporter's number (`frozen`), or stays a number, with the reason (`pinned`).
    """
    graph = _freed(graph, layers, 0, TIME)
    return _freed(graph, layers, 1, BATCH)


def free_length(graph: Graph) -> Graph:
    """The graph with a length free that a reshape or the like holds as a number, where the rest fits any.

    Args:
        graph: with cells over a fixed number of steps, the reason in `pinned`.

    Returns:
        As `free_sizes` gives it; `pinned` keeps the reason, for those who ask for another length.
    """
    if TIME not in graph.pinned:
        return graph
    cells = {output for node in graph.nodes if node.op in CELLS for output in node.outputs if output}
    freed = _freed(graph, cells, 0, TIME, graph.pinned[TIME])
    if TIME not in free_symbols(freed):
        return freed
    return replace(_freed(freed, cells, 1, BATCH), pinned=graph.pinned)


def _freed(graph: Graph, layers: set[str], position: int, name: str, why: str = "") -> Graph:
    size = next((size for size in _sizes(graph, layers, position) if isinstance(size, int) and size > 1), None)
    if size is None or name in free_symbols(graph):
        return graph
    reason = ""
    for axes in _candidates(graph, size, position):
        try:
            entry, axis = axes[0]
            found = free_axes(graph, axes, name, int(str(graph.inputs[entry].shape[axis])))
        except FixedSizeError as error:
            reason = reason or str(error)
            continue
        if any(name in symbols(dim) for dim in _sizes(found, layers, position)):
            kept = {key: text for key, text in graph.pinned.items() if key != name}
            return replace(found, pinned=kept)
    if position == 0:
        text = why or f"the layer was exported step by step, for exactly {size} steps"
        return replace(graph, pinned={**graph.pinned, name: f"{text}{f', and {reason}' if reason else ''}"})
    return graph


def _sizes(graph: Graph, layers: set[str], position: int) -> list[Dim]:
    types = infer_all(graph)
    nodes = [node for node in graph.nodes if node.op in CELLS and layers.intersection(node.outputs)]
    return [types[node.inputs[0]].shape[position] for node in nodes]


def _candidates(graph: Graph, size: int, position: int) -> list[list[Axis]]:
    """Axes of the inputs that may be the one looked for: all of that size together, then each by itself."""
    carried = {state.input for state in graph.states}
    every = [
        (name, axis, dim)
        for name, kind in graph.inputs.items()
        for axis, dim in enumerate(kind.shape)
        if isinstance(dim, int) and dim > 1 and not (position == 0 and name in carried)
    ]
    equal = [(name, axis) for name, axis, dim in every if dim == size]
    groups = [equal] if equal else []
    groups += [[axis] for axis in equal] if len(equal) > 1 else []
    return groups + ([[(name, axis)] for name, axis, dim in every if dim != size] if position == 0 else [])
