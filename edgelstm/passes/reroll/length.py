"""Make a size that an exporter wrote as a number free again, where nothing else depends on it.

A layer that was unrolled over n steps says nothing about other lengths: its graph holds n wherever a length stands.
Here one axis of the inputs becomes a symbol and every node is looked at in order. What follows from the sizes of its
inputs follows them; what needs n itself says so, and then the size stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.dims import Dim, Shape, exact_div, product, substitute, symbol, symbols
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.ops import infer, infer_all

CELLS = ("lstm", "gru", "rnn")
Axis = tuple[str, int]  # an input and one of its axes


class FixedSizeError(Exception):
    """The size cannot be free; the text says which node needs it."""


@dataclass(slots=True)
class _Walk:
    """The graph as it is rewritten."""

    graph: Graph
    name: str
    size: int
    before: Mapping[str, TensorType]
    types: dict[str, TensorType] = field(default_factory=dict)
    summed: set[str] = field(default_factory=set)

    def changed(self, name: str) -> bool:
        """Whether the type of a value depends on the symbol."""
        return any(self.name in symbols(dim) for dim in self.types[name].shape)


def free_axes(graph: Graph, axes: Sequence[Axis], name: str, size: int) -> Graph:
    """The graph with axes of its inputs made the symbol `name`, which stands for `size`.

    Raises:
        FixedSizeError: a node depends on the number.
    """
    inputs = dict(graph.inputs)
    for entry, axis in axes:
        kind = inputs[entry]
        inputs[entry] = TensorType(kind.dtype, (*kind.shape[:axis], symbol(name), *kind.shape[axis + 1 :]))
    walk = _Walk(graph, name, size, infer_all(graph), dict(inputs))
    for constant, array in graph.constants.items():
        walk.types[constant] = TensorType(array.dtype.name, array.shape)
    nodes = tuple(_rewritten(walk, node) for node in graph.nodes)
    return replace(graph, inputs=inputs, nodes=nodes, frozen={**graph.frozen, name: size})


def _rewritten(walk: _Walk, node: Node) -> Node:
    names = [value for value in node.inputs if value]
    attrs: dict[str, Any] = dict(node.attrs)
    if any(walk.changed(value) for value in names):
        try:
            attrs |= _RULES[node.op](walk, node) if node.op in _RULES else {}
            _watch_sums(walk, node)
        except FixedSizeError as error:
            raise FixedSizeError(f"{node.where} {error}") from None
    elif node.op == "broadcast":
        attrs["shape"] = _repeated(walk, node)
    made = replace(node, attrs=attrs)
    try:
        kinds = infer(made, [walk.types[value] if value else None for value in node.inputs])
    except InputError as error:
        raise FixedSizeError(str(error)) from None
    for value, kind in zip(node.outputs, kinds, strict=True):
        if value:
            at_size = tuple(substitute(dim, {walk.name: walk.size}) for dim in kind.shape)
            if at_size != walk.before[value].shape:
                raise FixedSizeError(
                    f"{node.where} gives {kind}, which is not {walk.before[value]} at {walk.name}={walk.size}"
                )
            walk.types[value] = kind
    return made


def _reshape(walk: _Walk, node: Node) -> dict[str, Any]:
    before, after = walk.before[node.inputs[0]].shape, walk.types[node.inputs[0]].shape
    shape: list[Dim] = []
    for old, new, target in _groups(before, after, walk.before[node.outputs[0]].shape):
        shape += target if old == new else _spread(walk, product(new), target)
    return {"shape": tuple(shape)}


def _groups(before: Shape, after: Shape, target: Shape) -> list[tuple[list[Dim], list[Dim], list[Dim]]]:
    """Runs of axes, as short as may be, that a reshape turns into each other."""
    groups: list[tuple[list[Dim], list[Dim], list[Dim]]] = []
    old, new, out = list(before), list(after), list(target)
    while old or out:
        group: tuple[list[Dim], list[Dim], list[Dim]] = ([], [], [])
        while True:
            left, right = product(group[0]), product(group[2])
            if group[0] and group[2] and left == right:
                break
            grow_left = bool(old) and (not out or not group[0] or _smaller(left, right))
            if grow_left:
                group[0].append(old.pop(0))
                group[1].append(new.pop(0))
            elif out:
                group[2].append(out.pop(0))
            else:
                break
        groups.append(group)
    return groups


def _smaller(left: Dim, right: Dim) -> bool:
    """Whether `left` must grow to become `right`."""
    ratio = exact_div(left, right)
    return ratio is None or ratio == 1 or (isinstance(left, int) and isinstance(right, int) and left < right)


def _spread(walk: _Walk, total: Dim, target: Sequence[Dim]) -> list[Dim]:
    """The sizes of `target` with the one changed that the symbol belongs to."""
    found = []
    for position in range(len(target)):
        rest = product([*target[:position], *target[position + 1 :]])
        size = exact_div(total, rest)
        if size is not None and substitute(size, {walk.name: walk.size}) == target[position]:
            found.append([*target[:position], size, *target[position + 1 :]])
    if len(found) != 1:
        raise FixedSizeError(f"has the shape {tuple(target)}, in which {walk.size} cannot be told from other numbers")
    return found[0]


def _slice(walk: _Walk, node: Node) -> dict[str, Any]:
    before, after = walk.before[node.inputs[0]].shape, walk.types[node.inputs[0]].shape
    bounds: list[tuple[Dim, Dim]] = []
    lists: Any = [node.attrs[key] for key in ("axes", "starts", "stops", "steps")]
    for axis, start, stop, step in zip(*lists, strict=True):
        old, new = before[axis], after[axis]
        if old == new or (start, stop, step) == (0, 1, 1):
            bounds.append((start, stop))
        elif (start, stop, step) == (0, old, step) and step > 0:
            bounds.append((0, new))
        elif (start, stop, step) == (old - 1, old, 1):
            bounds.append((new - 1, new))
        elif (start, stop) == (old - 1, -1) and step == -1:
            bounds.append((new - 1, -1))
        else:
            raise FixedSizeError(f"takes the entries {start}:{stop} of {old}")
    return {"starts": tuple(start for start, _ in bounds), "stops": tuple(stop for _, stop in bounds)}


def _broadcast(walk: _Walk, node: Node) -> dict[str, Any]:
    target, after = list(walk.before[node.outputs[0]].shape), walk.types[node.inputs[0]].shape
    for back, dim in enumerate(reversed(after), start=1):
        if dim != 1:
            target[-back] = dim
    return {"shape": tuple(target)}


def _repeated(walk: _Walk, node: Node) -> Shape:
    """What is repeated to be the input of every step follows the number of steps."""
    shape = walk.before[node.outputs[0]].shape
    users = [user for user in walk.graph.nodes if node.outputs[0] in user.inputs]
    steps = all(user.op in CELLS and user.inputs[0] == node.outputs[0] for user in users)
    return (symbol(walk.name), *shape[1:]) if steps and shape[0] == walk.size else shape


def _gather(walk: _Walk, node: Node) -> dict[str, Any]:
    axis = int(str(node.attrs["axis"]))
    table = walk.types[node.inputs[0]].shape
    if walk.name in symbols(table[axis]):
        raise FixedSizeError(f"takes entries of an axis of {walk.size} by their numbers")
    return {}


def _reverse(walk: _Walk, node: Node) -> dict[str, Any]:
    if node.inputs[1] in walk.graph.constants:
        raise FixedSizeError("has constant lengths")
    return {}


def _cell(walk: _Walk, node: Node) -> dict[str, Any]:
    if node.inputs[4] in walk.graph.constants:
        raise FixedSizeError("has constant lengths")
    return {}


_RULES = {
    "reshape": _reshape,
    "slice": _slice,
    "broadcast": _broadcast,
    "gather": _gather,
    "reverse_sequence": _reverse,
    **dict.fromkeys(CELLS, _cell),
}


def _watch_sums(walk: _Walk, node: Node) -> None:
    """A sum over all steps that is then divided by their number as a constant depends on that number."""
    if node.op == "reduce_sum":
        axes: Any = node.attrs["axes"]
        shape = walk.types[node.inputs[0]].shape
        if any(walk.name in symbols(shape[axis]) for axis in axes):
            _refuse_division(walk, node.outputs[0])


def _refuse_division(walk: _Walk, name: str) -> None:
    for user in walk.graph.nodes:
        if user.op not in ("mul", "div") or name not in user.inputs:
            continue
        for other in user.inputs:
            array = walk.graph.constants.get(other)
            if array is None or array.size != 1 or array.dtype != np.float32:
                continue
            number = float(array.reshape(-1)[0])
            if np.isclose(number, walk.size) or np.isclose(number * walk.size, 1):
                raise FixedSizeError(f"is followed by {user.where}, which divides by {walk.size} steps as a constant")
