"""Follow every float value of a graph back to what it is made of (`term.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from edgelstm.graph.dims import Shape
from edgelstm.graph.ir import Array, Graph, Node, TensorType
from edgelstm.graph.ops import infer_all
from edgelstm.passes.reroll.term import (
    Block,
    Value,
    add,
    aligned,
    constant,
    leaf,
    multiply,
    product,
    scale,
    simplified,
    width,
)
from edgelstm.passes.reroll.view import MOVES, View, moved, whole

CELLS = ("lstm", "gru", "rnn")
MAX_WIDTH = 1 << 14  # features of values that are followed


class Trace:
    """What the values of a graph are made of.

    Attributes:
        graph: the graph.
        types: name → type of every value.
        makers: name → the node that makes it.
        views: name → the view of another value that it is; for most values the whole of itself.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types = infer_all(graph)
        self.makers = {name: node for node in graph.nodes for name in node.outputs if name}
        self.views: dict[str, View] = {}
        self.uses = Counter(name for node in graph.nodes for name in node.inputs)
        self._values: dict[str, Value] = {}
        for name in (*graph.inputs, *graph.constants):
            self.views[name] = whole(name, self.types[name])
        for node in graph.nodes:
            for name in filter(None, node.outputs):
                self.views[name] = self._view(node, name)
            if node.op in _RULES and self.types[node.outputs[0]].dtype == "float32" and self._narrow(node):
                value = _RULES[node.op](self, node)
                if value is not None:
                    self._values[node.outputs[0]] = value

    def _narrow(self, node: Node) -> bool:
        """Whether it has no more features than cells have: each one followed takes a number, products a square."""
        kinds = [self.types[name] for name in (*node.inputs, *node.outputs) if name]
        return all(not isinstance(size := width(kind.shape), int) or size <= MAX_WIDTH for kind in kinds)

    def value(self, name: str) -> Value:
        """What a float value is made of."""
        if name in self._values:
            return self._values[name]
        kind = self.types[name]
        if (row := self.row(name)) is not None:
            return Value(kind.shape, (constant(row, whole(name, kind)),))
        size = width(kind.shape)
        if not isinstance(size, int) or not kind.rank:
            raise ValueError(f"{name}: no features to tell apart in {kind}")
        view = self.views[name]
        return Value(kind.shape, (leaf(view if len(view.axes[-1]) < 2 else whole(name, kind)),))

    def row(self, name: str) -> Array | None:
        """A constant with one number for each feature, the same for all rows; None where it is none."""
        kind = self.types[name]
        node = self.makers.get(name)
        if node is not None and node.op == "broadcast" and kind.rank and isinstance(kind.shape[-1], int):
            inner = self.row(node.inputs[0])
            return None if inner is None else np.broadcast_to(inner, (int(str(kind.shape[-1])),))
        array = self.graph.constants.get(name)
        if array is None or array.dtype != np.float32 or not array.size:
            return None
        rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
        return rows[0] if len(rows) == 1 or np.all(rows == rows[0]) else None

    def chosen(self, node: Node) -> str | None:
        """The branch of a `where` that a constant condition takes everywhere."""
        condition = self.graph.constants.get(node.inputs[0])
        if condition is None or not condition.size or np.any(condition != condition.flat[0]):
            return None
        return node.inputs[1] if condition.flat[0] else node.inputs[2]

    def part(self, name: str, view: View) -> Block | None:
        """What a part of a value is made of; None where its features are made in more than one way.

        Args:
            name: a value of the same shape as the view's root.
            view: which part.
        """
        kind = self.types[name]
        if not kind.rank or not isinstance(width(kind.shape), int):
            return None  # no features to tell apart
        value, last = self.value(name), view.picks[-1]
        rank = len(value.shape)
        if len(view.picks) != rank or view.axes[-1] not in ((rank - 1,), ()):
            return None
        if not isinstance(last.start, int) or not isinstance(last.size, int) or last.step != 1:
            return None
        if not view.axes[-1] and last.size != 1:
            return None
        found = _cut(value.blocks, last.start, last.size)
        if len(found) != 1:
            return None

        def move(inner: View) -> View | None:
            part: View | None = inner
            for axis, pick in enumerate(view.picks[:-1]):
                part = None if part is None else part.sliced(axis, pick.start, pick.size, pick.step)
            if part is None:
                return None
            leading = [tuple(a for outer in group for a in part.axes[outer]) for group in view.axes[:-1]]
            return View(part.root, part.picks, (*leading, part.axes[-1]))

        return found[0].map(move)

    def _view(self, node: Node, name: str) -> View:
        kind = self.types[name]
        if node.op == "where" and (chosen := self.chosen(node)) is not None and self.types[chosen] == kind:
            return self.views[chosen]
        if node.op in MOVES:
            view = moved(node, self.views[node.inputs[0]], kind)
            if view is not None:
                return view
        if node.op in CELLS and name == node.outputs[1] and node.outputs[0]:
            return self._last(node, kind) or whole(name, kind)
        return whole(name, kind)

    def _last(self, node: Node, kind: TensorType) -> View | None:
        """The last h of a layer as an entry of its y."""
        y, direction = node.outputs[0], node.attrs["direction"]
        length = self.types[y].shape[0]
        if direction == "bidirectional" or node.inputs[4] or not isinstance(length, int):
            return None
        at = length - 1 if direction == "forward" else 0
        view = whole(y, self.types[y]).sliced(0, at, 1)
        return None if view is None else view.reshaped(kind.shape)


def _cut(blocks: tuple[Block, ...], start: int, size: object) -> list[Block]:
    """The blocks, or parts of them, that hold `size` features from `start` on."""
    found, position = [], 0
    assert isinstance(size, int)
    for block in blocks:
        low, high = max(start, position) - position, min(start + size, position + block.size) - position
        if low < high:
            view = block.view.sliced(len(block.view.axes) - 1, low, high - low)
            if view is None:
                return []
            found.append(block.rows(low, high, view))
        position += block.size
    return found


def _operands(trace: Trace, node: Node) -> tuple[Value, Value] | None:
    """Both inputs of a binary operator in the shape of the result; None where broadcasting does more than that."""
    shape = trace.types[node.outputs[0]].shape
    values = []
    for name in node.inputs:
        row = trace.row(name)
        if row is not None:
            values.append(_constant(trace, name, row, shape))
            continue
        kind = trace.types[name]
        if (1,) * (len(shape) - kind.rank) + kind.shape != shape:
            return None
        found = _reshaped(_settled(trace, name), shape)
        if found is None:
            return None
        values.append(found)
    return values[0], values[1]


def _settled(trace: Trace, name: str) -> Value:
    """A value for use in a sum or product: what several nodes use, and is a sum itself, stands for itself."""
    value = trace.value(name)
    sums = any(len(block.terms) > 1 or any(len(key) > 1 for key in block.terms) for block in value.blocks)
    if trace.uses[name] > 1 and sums and not any(block.dense for block in value.blocks):
        return Value(value.shape, tuple(leaf(block.view) for block in value.blocks))
    return value


def _constant(trace: Trace, name: str, row: Array, shape: Shape) -> Value:
    size = width(shape)
    full = np.broadcast_to(row, (size,)) if isinstance(size, int) else row
    return Value(shape, (constant(full, whole(name, TensorType("float32", shape))),))


def _reshaped(value: Value, shape: Shape) -> Value | None:
    """Leading axes regrouped, features as they are."""
    if value.shape == shape:
        return value
    blocks = [block.map(lambda view: view.reshaped((*shape[:-1], view.width))) for block in value.blocks]
    return None if any(block is None for block in blocks) else Value(shape, tuple(b for b in blocks if b is not None))


def _usable(trace: Trace, *names: str) -> bool:
    """Whether the last axis of these values counts features."""
    kinds = [trace.types[name] for name in names if name]
    return all(kind.dtype == "float32" and kind.rank and isinstance(kind.shape[-1], int) for kind in kinds)


def _pointwise(trace: Trace, node: Node, make: Callable[[Block, Block, View], Block]) -> Value | None:
    """A binary operator, features by features."""
    if not _usable(trace, node.outputs[0]) or (both := _operands(trace, node)) is None:
        return None
    view = whole(node.outputs[0], trace.types[node.outputs[0]])
    blocks, start = [], 0
    for left, right in aligned(both[0].blocks, both[1].blocks):
        part = view.sliced(len(view.axes) - 1, start, left.size)
        assert part is not None
        blocks.append(make(left, right, part))
        start += left.size
    return Value(both[0].shape, tuple(blocks))


def _sum(trace: Trace, node: Node) -> Value | None:
    sign = -1 if node.op == "sub" else 1
    return _pointwise(trace, node, lambda left, right, view: add(left, right, sign, view))


def _product(trace: Trace, node: Node) -> Value | None:
    return _pointwise(trace, node, multiply)


def _quotient(trace: Trace, node: Node) -> Value | None:
    """Division by a constant."""
    row = trace.row(node.inputs[1])
    if row is None or not np.all(row):
        return None
    return _pointwise(
        trace, node, lambda left, right, view: scale(left, 1 / right.constants[0].astype(np.float64), view)
    )


def _negative(trace: Trace, node: Node) -> Value | None:
    if not _usable(trace, node.inputs[0]):
        return None
    value = trace.value(node.inputs[0])
    if value.one is None:
        return None
    view = whole(node.outputs[0], trace.types[node.outputs[0]])
    return Value(value.shape, (scale(value.one, -np.ones(value.one.size), view),))


def _linear(trace: Trace, node: Node) -> Value | None:
    matrix = trace.graph.constants.get(node.inputs[1])
    bias = trace.graph.constants.get(node.inputs[2]) if node.inputs[2] else None
    if matrix is None or matrix.dtype != np.float32 or (node.inputs[2] and bias is None):
        return None
    return _affine(trace, node, matrix, bias)


def _matmul(trace: Trace, node: Node) -> Value | None:
    matrix = trace.graph.constants.get(node.inputs[1])
    if matrix is None or matrix.ndim != 2 or trace.types[node.inputs[0]].rank < 2:
        return None
    return _affine(trace, node, matrix.T, None)


def _affine(trace: Trace, node: Node, matrix: Array, bias: Array | None) -> Value | None:
    if not _usable(trace, node.inputs[0]):
        return None
    kind = trace.types[node.outputs[0]]
    block = product(trace.value(node.inputs[0]).blocks, matrix, whole(node.outputs[0], kind))
    if bias is not None:
        block = simplified(Block(block.size, block.view, block.terms, (*block.constants, bias)))
    return Value(kind.shape, (block,))


def _move(trace: Trace, node: Node) -> Value | None:
    name, kind = node.outputs[0], trace.types[node.outputs[0]]
    if not _usable(trace, node.inputs[0], name):
        return None
    value = trace.value(node.inputs[0])
    last = len(value.shape) - 1
    if node.op == "slice" and node.attrs["axes"] == (last,):
        bounds: Any = node.attrs
        (start,), (step,) = bounds["starts"], bounds["steps"]
        if isinstance(start, int) and step == 1 and (parts := _cut(value.blocks, start, kind.shape[-1])):
            return Value(kind.shape, tuple(parts))
        return None
    if not _keeps_features(node, value.shape, kind.shape):
        return None
    blocks = []
    for block in value.blocks:

        def move(view: View) -> View | None:
            return moved(node, view, TensorType(kind.dtype, (*kind.shape[:-1], view.width)))

        found = block.map(move)
        if found is None:
            return None
        blocks.append(found)
    return Value(kind.shape, tuple(blocks))


def _keeps_features(node: Node, before: Shape, after: Shape) -> bool:
    """Whether the last axis stays what it is."""
    if node.op == "transpose":
        return node.attrs["perm"][-1] == len(before) - 1  # type: ignore[index]
    if node.op == "slice":
        axes: Any = node.attrs["axes"]
        return len(before) - 1 not in [axis % len(before) for axis in axes]
    return before[-1] == after[-1]


def _where(trace: Trace, node: Node) -> Value | None:
    chosen = trace.chosen(node)
    if chosen is None or trace.types[chosen] != trace.types[node.outputs[0]] or not _usable(trace, chosen):
        return None
    return trace.value(chosen)


def _concat(trace: Trace, node: Node) -> Value | None:
    kind = trace.types[node.outputs[0]]
    if node.attrs["axis"] not in (-1, kind.rank - 1) or not _usable(trace, *node.inputs):
        return None
    return Value(kind.shape, tuple(block for name in node.inputs for block in trace.value(name).blocks))


_RULES = {
    **dict.fromkeys(MOVES, _move),
    **dict.fromkeys(("add", "sub"), _sum),
    "concat": _concat,
    "where": _where,
    "mul": _product,
    "div": _quotient,
    "neg": _negative,
    "linear": _linear,
    "matmul": _matmul,
}
