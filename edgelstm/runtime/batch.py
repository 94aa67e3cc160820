"""Many streams as the rows of one batch: the one-step graph for n rows, where rows do not touch each other.

A model is lowered for n rows only if each of its values either does not depend on the batch or keeps the rows
apart along one axis. A prime that no other dimension has marks that axis. What cannot be shown to keep rows apart
is stepped row by row, which gives the same bits more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from edgelstm.errors import EdgeLSTMError
from edgelstm.graph.bind import substitute_graph
from edgelstm.graph.dims import BATCH
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.ops import ACTIVATIONS, OPS, infer_all
from edgelstm.passes.stream import StepGraph, StreamOptions, to_step

MARK = 999_983  # a prime

_POINTWISE = frozenset(
    (
        *ACTIVATIONS,
        *("exp", "log", "sqrt", "reciprocal", "erf", "neg", "abs", "not", "identity", "cast", "broadcast", "transpose"),
        *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "equal", "less", "greater", "and", "or", "where"),
    )
)
_CELLS = frozenset(("rnn", "gru", "lstm"))


def with_rows(graph: Graph, options: StreamOptions, rows: int) -> StepGraph:
    """The one-step form of a graph for `rows` streams at once; its arrays keep the batch axis.

    Raises:
        EdgeLSTMError: the model cannot be streamed so.
    """
    return to_step(substitute_graph(graph, {BATCH: rows}), options)


def batch_axes(graph: Graph, options: StreamOptions, single: Graph) -> dict[str, int] | None:
    """Input, output or state name → its batch axis; None where rows may touch each other.

    Args:
        graph: the whole-sequence model.
        options: how it is streamed.
        single: its one-step form for one stream.
    """
    try:
        marked = with_rows(graph, options, MARK).graph
        types = infer_all(marked)
    except (EdgeLSTMError, MemoryError):
        return None
    if marked.tick or len(marked.nodes) != len(single.nodes) or set(marked.inputs) != set(single.inputs):
        return None
    if any(_axis(kind) is False for kind in types.values()) or not all(_apart(node, types) for node in marked.nodes):
        return None
    ports = {**marked.inputs, **{name: types[value] for name, value in marked.outputs.items()}}
    found = {name: _axis(kind) for name, kind in ports.items()}
    if any(axis is None or axis is False for axis in found.values()):
        return None
    return {name: int(axis) for name, axis in found.items() if axis is not None}


def keeps_rows_apart(graph: Graph) -> bool:
    """Whether no row of a batch depends on another in a graph whose batch has MARK rows."""
    types = infer_all(graph)
    return all(_axis(kind) is not False for kind in types.values()) and all(_apart(node, types) for node in graph.nodes)


def _axis(kind: TensorType) -> int | bool | None:
    """The batch axis; None if there is none; False if batch is mixed into other axes."""
    axes = [axis for axis, dim in enumerate(kind.shape) if isinstance(dim, int) and dim % MARK == 0 and dim]
    if any(not isinstance(dim, int) for dim in kind.shape) or len(axes) > 1:
        return False
    return None if not axes else axes[0] if kind.shape[axes[0]] == MARK else False


def _apart(node: Node, types: Mapping[str, TensorType]) -> bool:
    """Whether the rows of a node's results depend on the same rows of its inputs alone."""
    given = [types[name] if name else None for name in node.inputs]
    axes = [_axis(kind) if kind else None for kind in given]
    if all(axis is None for axis in axes):
        # The same for all rows; a result with a batch axis repeats it.
        return all(_axis(types[name]) is None for name in node.outputs if name) or node.op in ("broadcast", *_CELLS)
    first, kind = axes[0], given[0]
    if node.op not in OPS or kind is None or (node.attrs.get("int8") and node.op not in _CELLS):
        return False
    shape = [int(str(dim)) for dim in kind.shape]
    attrs: Mapping[str, Any] = node.attrs
    if node.op in _POINTWISE:
        return True
    if node.op in _CELLS:
        return first == 1
    if node.op == "linear":
        return first != len(shape) - 1
    if node.op == "matmul":
        return _matmul_apart(axes, given)
    if node.op in ("conv", "max_pool"):
        return first == 0
    if node.op.startswith("reduce_"):
        return first not in _positive(attrs["axes"], len(shape))
    if node.op in ("softmax", "log_softmax", "argmax", "concat"):
        return all(axis != attrs["axis"] % len(shape) for axis in axes if axis is not None)
    if node.op == "layer_norm":
        return first is not None and first < attrs["axis"] % len(shape) and all(axis is None for axis in axes[1:])
    if node.op == "slice":
        return first not in _positive(attrs["axes"], len(shape))
    if node.op == "pad":
        return first is not None and not any(attrs["pads"][first :: len(shape)]) and attrs["mode"] == "constant"
    if node.op == "reshape":
        after = types[node.outputs[0]]
        axis = _axis(after)
        sizes = [int(str(dim)) for dim in after.shape]
        return isinstance(axis, int) and first is not None and prod(shape[:first]) == prod(sizes[:axis])
    if node.op == "gather":
        return first is None or (axes[1] is None and first != attrs["axis"] % len(shape))
    return False


def _matmul_apart(axes: Sequence[int | bool | None], given: Sequence[TensorType | None]) -> bool:
    a, b = given
    if a is None or b is None or len(a.shape) < 2 or len(b.shape) < 2:
        return False
    return (axes[0] is None or axes[0] != len(a.shape) - 1) and (axes[1] is None or axes[1] != len(b.shape) - 2)


def _positive(axes: Sequence[int], rank: int) -> list[int]:
    return [axis % rank for axis in axes]
