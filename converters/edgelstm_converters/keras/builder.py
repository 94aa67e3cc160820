"""Builds a graph in which values branch and meet: the chain of `layers/build.py`, entered and left at any value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgelstm.errors import UnsupportedError
from edgelstm.graph.dims import Dim
from edgelstm.graph.ir import Array, Attr, Graph, Node, TensorType
from edgelstm_converters.array_book import ArrayBook
from edgelstm_converters.keras.config import Layer
from edgelstm_converters.keras.weights import Part, Weights
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry


class NeedsLengthError(UnsupportedError):
    """A layer needs a length that was left symbolic."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A tensor of the Keras model.

    Attributes:
        name: the value of the graph.
        time_major: whether its first two axes are swapped.
        hold: its mask, a boolean (B, T) that is true at the steps that are left out; "" for none.
    """

    name: str
    time_major: bool = False
    hold: str = ""


class KerasBuilder(ChainBuilder):
    """A chain with a movable end.

    Args:
        inputs: name → type of every input of the graph.
        weights: the arrays of the file.
    """

    def __init__(self, inputs: Mapping[str, TensorType], weights: Weights) -> None:
        super().__init__(None)
        self._inputs = dict(inputs)
        self._types = dict(inputs)
        self.weights = weights
        self._made: dict[str, Node] = {}
        self._moved: dict[tuple[str, tuple[int, ...]], str] = {}
        self.turned: dict[str, str] = {}  # boolean → its opposite

    @property
    def book(self) -> ArrayBook:
        """The arrays of the file."""
        return self.weights.book

    def shape(self, flow: Flow) -> tuple[Dim, ...]:
        """The shape as Keras has it, batch first."""
        first, *rest = self.shape_of(flow.name)
        return (rest[0], first, *rest[1:]) if flow.time_major else (first, *rest)

    def type_of(self, name: str) -> TensorType:
        """The type of a value."""
        return self._types[name]

    def enter(self, flow: Flow, time_major: bool | None = None) -> None:
        """Makes a value the current one, in the order of axes that is asked for (None: as it is)."""
        self.value, self.time_major = flow.name, flow.time_major
        self.pooled = self.type.rank == 2
        if time_major is not None and time_major != flow.time_major:
            rest = range(2, self.type.rank)
            self.then("transpose", f"{flow.name}.{'time' if time_major else 'batch'}_major", perm=(1, 0, *rest))
            self.time_major = time_major

    def leave(self) -> Flow:
        """The current value."""
        return Flow(self.value, self.time_major and self.type.rank > 2)

    def then(self, op: str, name: str, *more: str, **attrs: Attr) -> None:
        """As in a chain, but axes that were moved already, or are moved back, are not moved again."""
        perm = attrs.get("perm")
        if op != "transpose" or not isinstance(perm, tuple):
            super().then(op, name, *more, **attrs)
            return
        order = tuple(int(str(axis)) for axis in perm)
        if order == tuple(range(len(order))):
            return
        key = (self.value, order)
        if key not in self._moved:
            source = self.value
            super().then(op, name, *more, **attrs)
            self._moved[key] = self.value
            self._moved[self.value, tuple(int(axis) for axis in np.argsort(order))] = source
        self.value = self._moved[key]

    def scalar(self, name: str, value: float) -> str:
        """A constant that broadcasts over everything."""
        return self.constant(name, np.array(value, np.float32))

    def entry(self, layer: Layer, kind: str, parts: Sequence[Part], **keys: object) -> Entry:
        """A layer's arrays, by role, as the entries of `layers=[...]` read them."""
        return self.array_entry(layer, kind, self.weights.names(layer, parts), **keys)

    def array_entry(self, layer: Layer, kind: str, roles: Mapping[str, str | Array], **keys: object) -> Entry:
        """As `entry`, for arrays that are known by name or value."""
        entry = Entry(0, {"kind": kind, "arrays": dict(roles), **keys}, self.book, "keras")
        entry.where, entry.label = layer.where, layer.name
        return entry

    def graph(
        self,
        outputs: Mapping[str, Flow],
        frozen: Mapping[str, int],
        pinned: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> Graph:
        """The graph that gives `outputs`, batch first, without nodes that nothing uses."""
        shown: dict[str, str] = {}
        for name, flow in outputs.items():
            self.enter(flow, False)
            if self.value in self._inputs or self.value in shown.values():
                self.then("identity", name)
            shown[name] = self.value
        needed, nodes = set(shown.values()), []
        for node in reversed(self._nodes):
            if needed & {name for name in node.outputs if name}:
                nodes.append(node)
                needed.update(node.inputs)
        return Graph(
            inputs=self._inputs,
            outputs=shown,
            nodes=tuple(reversed(nodes)),
            constants={name: array for name, array in self._constants.items() if name in needed},
            frozen=dict(frozen),
            pinned=dict(pinned),
            metadata=dict(metadata),
        )
