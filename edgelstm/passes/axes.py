"""Find out which free dimension is time and which is batch, by what they reach, never by their names."""

from __future__ import annotations

from collections.abc import Mapping

from edgelstm.graph.bind import free_symbols, substitute_graph
from edgelstm.graph.dims import BATCH, TIME, Dim, Expr, symbol, symbols
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.ops import infer_all

RECURRENT = ("rnn", "gru", "lstm")


def name_axes(graph: Graph) -> Graph:
    """The graph with its time called T and its batch B.

    In a model with recurrent layers T is what reaches their sequence axis and B what reaches their batch axis. In
    others T is the one free dimension that convolutions slide over, else the one that is summed, normalised or
    attended over, else the only one beside the batch; B is then what stands first in every input.
    """
    types = infer_all(graph)
    time, batch = _from_cells(graph, types)
    if not any(node.op in RECURRENT for node in graph.nodes):
        first = {kind.shape[0] for kind in graph.inputs.values() if kind.rank}
        batch = _only(first) if len(first) == 1 else None
        time = _from_others(graph, types, batch)
    wanted = {found: name for found, name in ((time, TIME), (batch, BATCH)) if found is not None}
    names = free_symbols(graph)
    wanted = {old: new for old, new in wanted.items() if old != new and new not in names}
    return substitute_graph(graph, {old: symbol(new) for old, new in wanted.items()}) if wanted else graph


def _from_cells(graph: Graph, types: Mapping[str, TensorType]) -> tuple[str | None, str | None]:
    shapes = [types[node.inputs[0]].shape for node in graph.nodes if node.op in RECURRENT]
    return _only({shape[0] for shape in shapes}), _only({shape[1] for shape in shapes})


def _from_others(graph: Graph, types: Mapping[str, TensorType], batch: str | None) -> str | None:
    slid: set[str] = set()
    mixed: set[str] = set()
    for node in graph.nodes:
        kinds = [types[name] for name in node.inputs if name]
        for found, dims in ((slid, _slid_over(node, kinds)), (mixed, _mixed_over(node, kinds))):
            found.update(name for dim in dims for name in symbols(dim) if name != batch)
    rest = {name for name in free_symbols(graph) if name != batch}
    for found in (slid, mixed, rest if batch else set()):
        if found:
            return next(iter(found)) if len(found) == 1 else None
    return None


def _slid_over(node: Node, kinds: list[TensorType]) -> tuple[Dim, ...]:
    return kinds[0].shape[2:] if node.op in ("conv", "conv_transpose", "max_pool", "avg_pool") else ()


def _mixed_over(node: Node, kinds: list[TensorType]) -> tuple[Dim, ...]:
    if node.op == "matmul":
        return (kinds[0].shape[-1],)
    if node.op in ("softmax", "log_softmax"):
        return (kinds[0].shape[int(str(node.attrs["axis"]))],)
    if node.op.startswith("reduce_"):
        axes = node.attrs["axes"]
        return tuple(kinds[0].shape[int(str(axis))] for axis in axes) if isinstance(axes, tuple) else ()
    return ()


def _only(dims: set[Dim]) -> str | None:
    """The name of the one plain symbol among dimensions of which all others are integers."""
    found = {dim for dim in dims if isinstance(dim, Expr)}
    names = {name for dim in found for name in symbols(dim)}
    name = next(iter(names), None)
    return name if name is not None and found == {symbol(name)} else None
