"""Put scaling into a graph: (x - mean) / scale in front of its inputs, y * scale + mean behind its outputs.

Where only layers with constant weights take an input, its scaling goes into their weights and biases; so does that of
an output that a `linear` makes. What is exact enough to go there, and what stays a node, is said at `FOLD_LIMIT`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError
from edgelstm.graph.dims import Dim, Shape
from edgelstm.graph.ir import Array, Attr, Graph, Node, TensorType
from edgelstm.graph.ops import infer_all, make_node

Numbers = npt.NDArray[np.float64]

# A mean goes into a bias where it is at most this many scales from zero. Sums then hold numbers that are up to so many
# times larger than those of scaled readings, and their rounding errors grow by as much; beyond that it stays a node.
FOLD_LIMIT = 8.0

CELLS = ("rnn", "gru", "lstm")
SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and scale of a value, each of a shape that broadcasts to it.

    Attributes:
        mean: finite.
        scale: finite and not 0.
    """

    mean: Numbers
    scale: Numbers

    def along(self, shape: Shape) -> tuple[int, Numbers, Numbers] | None:
        """The one axis along which they differ, and their values along it; None where there is no such axis."""
        axes = {a.ndim - 1 - axis for a in (self.mean, self.scale) for axis, n in enumerate(a.shape) if n > 1}
        if len(axes) > 1 or not shape:
            return None
        axis = len(shape) - 1 - (axes.pop() if axes else 0)
        size = shape[axis]
        if not isinstance(size, int):
            return None
        mean, scale = (np.broadcast_to(a.reshape(-1), (size,)).astype(np.float64) for a in (self.mean, self.scale))
        return axis, mean, scale


def scale_graph(
    graph: Graph, inputs: Mapping[str, Scaling], outputs: Mapping[str, Scaling], fold: bool = True
) -> Graph:
    """The graph that takes readings and gives predictions in their own units.

    Args:
        graph: any graph.
        inputs: input name → what its readings are scaled by: the graph then computes (x - mean) / scale first.
        outputs: output name → what its predictions were scaled by: the graph then gives y * scale + mean.
        fold: put it into weights where that is exact enough; else into nodes of its own, which give the bits of
            scaling by hand in float32.

    Raises:
        InputError: a name is unknown, a state, not float32, or a shape does not broadcast.
    """
    scaled = _Scaled(graph)
    for name, scaling in inputs.items():
        scaled.check(name, graph.inputs.get(name), scaling, "input")
        scaled.scale_input(name, scaling, fold)
    for name, scaling in outputs.items():
        scaled.check(name, scaled.types.get(graph.outputs.get(name, "")), scaling, "output")
        scaled.scale_output(name, scaling, fold)
    return scaled.finish()


class _Scaled:
    """A graph in the making."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.types = graph, infer_all(graph)
        self.nodes, self.constants, self.outputs = list(graph.nodes), dict(graph.constants), dict(graph.outputs)
        self._first: list[Node] = []
        self._taken = set(self.types)

    def check(self, name: str, kind: TensorType | None, scaling: Scaling, what: str) -> None:
        states = {state.input for state in self.graph.states} | {state.output for state in self.graph.states}
        if kind is None:
            known = self.graph.inputs if what == "input" else self.graph.outputs
            raise InputError(f"scaling: there is no {what} {name!r}; there are {', '.join(known)}")
        if (name if what == "input" else self.graph.outputs[name]) in states:
            raise InputError(f"scaling: {what} {name!r} is a state, which stays in the model's own units")
        if kind.dtype != "float32":
            raise InputError(f"scaling: {what} {name!r} is {kind.dtype}; only float32 is scaled")
        for part in (scaling.mean, scaling.scale):
            dims = kind.shape[kind.rank - part.ndim :] if part.ndim <= kind.rank else ()
            if len(dims) != part.ndim or any(n not in (1, dim) for n, dim in zip(part.shape, dims, strict=True)):
                raise InputError(f"scaling: {what} {name!r} is {kind}; {part.shape} does not broadcast to it")

    # Inputs.

    def scale_input(self, name: str, scaling: Scaling, fold: bool) -> None:
        along = scaling.along(self.graph.inputs[name].shape) if fold else None
        ends = self._ends(name, along[0]) if along else None
        if not along or not ends:
            self._prepend(name, scaling.mean, scaling.scale)
            return
        _, mean, scale = along
        whole = _is_near(mean, scale) and not any(_pads(self.nodes[end]) for end in ends)
        shift = mean if whole else np.zeros_like(mean)
        folded = {end: _fold_input(self.nodes[end], self.constants, shift, scale) for end in ends}
        if not all(_keeps_digits(self._weights(end), *new) for end, new in folded.items()):
            self._prepend(name, scaling.mean, scaling.scale)
            return
        for end, new in folded.items():
            self._reweigh(end, *new)
        self._prepend(name, None if whole else scaling.mean, None)

    def _ends(self, name: str, axis: int) -> list[int] | None:
        """The nodes whose weights see the features of a value; None where something else takes it."""
        if name in self.outputs.values() or name in {state.output for state in self.graph.states}:
            return None
        found: list[int] = []
        for index, node in enumerate(self.nodes):
            if name not in node.inputs:
                continue
            if node.inputs.count(name) == 1 and node.inputs[0] == name:
                if self._weighs(node, axis):
                    found.append(index)
                    continue
                moved = _moved(node, axis, self.types)
                further = None if moved is None else self._ends(node.outputs[0], moved)
                if further is not None:
                    found += further
                    continue
            return None
        return found

    def _weighs(self, node: Node, axis: int) -> bool:
        """Whether a node multiplies an axis of its first input by constant weights."""
        if node.op not in ("linear", "conv", *CELLS):
            return False
        if axis != (1 if node.op == "conv" else self.types[node.inputs[0]].rank - 1):
            return False
        bias = _bias(node)
        return node.inputs[1] in self.constants and (not bias or bias in self.constants)

    def _prepend(self, name: str, mean: Numbers | None, divisor: Numbers | None) -> None:
        value = name
        for op, operand, neutral in (("sub", mean, 0.0), ("div", divisor, 1.0)):
            if operand is not None and (operand != neutral).any():
                result = self._free(f"{name}/{op}")
                self._first.append(make_node(op, [value, self._constant(f"{result}/by", operand)], [result]))
                self.types[result] = self.types[name]
                value = result
        if value != name:
            self.nodes = [
                replace(node, inputs=tuple(value if given == name else given for given in node.inputs))
                for node in self.nodes
            ]
            self.outputs = {key: value if shown == name else shown for key, shown in self.outputs.items()}

    # Outputs.

    def scale_output(self, name: str, scaling: Scaling, fold: bool) -> None:
        value = self.outputs[name]
        mean: Numbers | None = scaling.mean
        factor: Numbers | None = scaling.scale
        along = scaling.along(self.types[self.graph.outputs[name]].shape) if fold else None
        maker = self._maker(value, along[0]) if along else None
        if along and maker is not None:
            _, center, spread = along
            node, near = self.nodes[maker], _is_near(center, spread)
            bias = self.constants[node.inputs[2]].astype(np.float64) if node.inputs[2] else np.zeros(len(spread))
            new = self._weights(maker) * spread[:, None], bias * spread + (center if near else 0.0)
            if _keeps_digits(self._weights(maker), *new):
                self._reweigh(maker, *new)
                factor, mean = None, None if near else mean
        for op, operand, neutral in (("mul", factor, 1.0), ("add", mean, 0.0)):
            if operand is not None and (operand != neutral).any():
                result = self._free(f"{name}/{op}")
                self.nodes.append(make_node(op, [value, self._constant(f"{result}/by", operand)], [result]))
                value = result
        self.outputs[name] = value

    def _maker(self, value: str, axis: int) -> int | None:
        """The `linear` that makes a value which only one output shows, through nodes that only move data."""
        uses = Counter(given for node in self.nodes for given in node.inputs)
        uses.update([*self.outputs.values(), *(state.output for state in self.graph.states)])
        made = {name: index for index, node in enumerate(self.nodes) for name in node.outputs}
        at: int | None = axis
        while at is not None and uses[value] == 1 and value in made:
            node = self.nodes[made[value]]
            if node.op == "linear":
                return made[value] if self._weighs(node, at) and at == self.types[value].rank - 1 else None
            sources = range(self.types[node.inputs[0]].rank)
            at = next((before for before in sources if _moved(node, before, self.types) == at), None)
            value = node.inputs[0]
        return None

    # Both.

    def finish(self) -> Graph:
        nodes = (*self._first, *self.nodes)
        used = {name for node in nodes for name in node.inputs} | {*self.outputs.values(), *self.graph.initial.values()}
        kept = {name: array for name, array in self.constants.items() if name in used or name in self.graph.outputs}
        scaled = replace(self.graph, nodes=nodes, constants=kept, outputs=self.outputs)
        infer_all(scaled)
        return scaled

    def _weights(self, index: int) -> Array:
        return self.constants[self.nodes[index].inputs[1]]

    def _reweigh(self, index: int, weights: Numbers, bias: Numbers) -> None:
        node = self.nodes[index]
        inputs = list(node.inputs)
        inputs[1] = self._constant(f"{inputs[1]}/scaled", weights)
        place = _bias_place(node)
        inputs[place] = self._constant(f"{inputs[place] or inputs[1]}/bias", bias)
        self.nodes[index] = replace(node, inputs=tuple(inputs))

    def _constant(self, name: str, value: Numbers) -> str:
        array: Array = np.ascontiguousarray(value, np.float32).reshape(value.shape)
        array.flags.writeable = False
        name = self._free(name)
        self.constants[name] = array
        return name

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "'"
        self._taken.add(name)
        return name


def _is_near(mean: Numbers, scale: Numbers) -> bool:
    return bool((np.abs(mean) <= FOLD_LIMIT * np.abs(scale)).all())


def _bias_place(node: Node) -> int:
    return 3 if node.op in CELLS else 2


def _bias(node: Node) -> str:
    return node.inputs[_bias_place(node)]


def _pads(node: Node) -> bool:
    """Whether a node brings zeros of its own, to which a mean must not be added."""
    pads = node.attrs.get("pads", ())
    return isinstance(pads, tuple) and any(pads)


def _fold_input(node: Node, constants: Mapping[str, Array], mean: Numbers, scale: Numbers) -> tuple[Numbers, Numbers]:
    """Weights and bias of a node that takes raw readings: w / scale, and b - (w / scale) mean."""
    weights = constants[node.inputs[1]].astype(np.float64)
    given = _bias(node)
    if node.op == "conv":
        group: Attr = node.attrs["group"]
        rows = np.arange(len(weights)) * int(str(group)) // len(weights)
        means, scales = (a.reshape(int(str(group)), -1)[rows] for a in (mean, scale))
        spread = (*scales.shape, *[1] * (weights.ndim - 2))
        weights = weights / scales.reshape(spread)
        shift = -(weights * means.reshape(spread)).reshape(len(weights), -1).sum(axis=1)
    else:
        weights = weights / scale
        shift = -(weights @ mean)
    if node.op in CELLS:
        shift = np.concatenate([shift, np.zeros_like(shift)], axis=1)
    return weights, shift + (constants[given] if given else 0.0)


def _keeps_digits(before: Array, weights: Numbers, bias: Numbers) -> bool:
    """Whether float32 holds the new numbers as well as the old ones."""
    with np.errstate(over="ignore"):
        finite = all(np.isfinite(a.astype(np.float32)).all() for a in (weights, bias))
    small = (np.abs(weights) < SMALLEST) & (np.abs(before) >= SMALLEST)
    return finite and not bool(small.any())


def _moved(node: Node, axis: int, types: Mapping[str, TensorType]) -> int | None:
    """Where a node that only moves data puts an axis; None where it does not keep its entries and their order."""
    if node.op == "identity":
        return axis
    if node.op == "transpose":
        perm = node.attrs["perm"]
        return perm.index(axis) if isinstance(perm, tuple) else None
    if node.op == "slice":
        axes = node.attrs["axes"]
        rank = types[node.inputs[0]].rank
        return axis if isinstance(axes, tuple) and axis not in {int(str(a)) % rank for a in axes} else None
    if node.op == "reshape":
        before, after = types[node.inputs[0]].shape, types[node.outputs[0]].shape
        behind = _count(before[axis + 1 :])
        fits = (at for at, size in enumerate(after) if size == before[axis] and _count(after[at + 1 :]) == behind)
        return next(fits, None) if behind is not None else None
    return None


def _count(dims: tuple[Dim, ...]) -> int | None:
    return prod(dim for dim in dims if isinstance(dim, int)) if all(isinstance(dim, int) for dim in dims) else None
