"""Builds a graph layer by layer: one value flows through, batch first outside and time first in cells."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.dims import BATCH, TIME, Dim, symbol
from edgelstm.graph.ir import Array, Attr, Graph, Node, TensorType
from edgelstm.graph.ops import infer, make_node

INPUT, OUTPUT = "x", "y"


class ChainBuilder:
    """Appends nodes to a chain of layers that starts at the input `x`.

    The current value is (B, T, F), (T, B, F) while `time_major`, or (B, F) after the time axis was
    pooled away; token ids are (B, T) until an embedding turns them into features.

    Args:
        features: width of the input, or None where it holds int64 token ids (B, T).
    """

    def __init__(self, features: int | None) -> None:
        batch, time = symbol(BATCH), symbol(TIME)
        kind = (
            TensorType("int64", (batch, time)) if features is None else TensorType("float32", (batch, time, features))
        )
        self.value = INPUT
        self.time_major = False
        self.pooled = False
        self.report: list[str] = []
        self._types: dict[str, TensorType] = {INPUT: kind}
        self._inputs = {INPUT: kind}
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}

    @property
    def type(self) -> TensorType:
        """The type of the current value."""
        return self._types[self.value]

    @property
    def features(self) -> int:
        """Width of the current value's last axis."""
        width = self.type.shape[-1]
        assert isinstance(width, int)
        return width

    @property
    def tokens(self) -> bool:
        """Whether the current value is still token ids."""
        return self.type.dtype != "float32"

    def shape_of(self, name: str) -> tuple[Dim, ...]:
        """The shape of a value."""
        return self._types[name].shape

    def constant(self, name: str, array: Array) -> str:
        """Puts an array into the graph and gives its name there."""
        name = self._fresh(name)
        stored = np.ascontiguousarray(array)
        stored.flags.writeable = False
        self._constants[name] = stored
        self._types[name] = TensorType(stored.dtype.name, stored.shape)
        return name

    def node(self, op: str, inputs: list[str], name: str, outputs: int, attrs: Mapping[str, Attr]) -> list[str]:
        """Appends a node and gives the names of its outputs; the current value stays as it is."""
        # A stream calls the states that it adds `name.h` and `name.c`, so values take a slash.
        results = [self._fresh(f"{name}/{suffix}") for suffix in ("y", "h", "c")[:outputs]]
        made = make_node(op, inputs, results, self._fresh(name), **attrs)
        types = infer(made, [self._types[value] if value else None for value in made.inputs])
        self._types.update(zip(results, types[:outputs], strict=True))
        self._nodes.append(made)
        return results

    def then(self, op: str, name: str, *more: str, **attrs: Attr) -> None:
        """Appends a node that turns the current value (and `more` inputs) into the next one."""
        (self.value,) = self.node(op, [self.value, *more], name, 1, attrs)

    def swap(self, time_major: bool, name: str) -> None:
        """Brings a sequence into time-first or batch-first order."""
        if self.pooled or self.time_major == time_major:
            return
        self.then("transpose", f"{name}.{'time_major' if time_major else 'batch_major'}", perm=(1, 0, 2))
        self.time_major = time_major

    def need_features(self, where: str) -> None:
        """Refuses a layer that works on features where the value is token ids."""
        if self.tokens:
            raise InputError(f"{where}: expected features, but the input is token ids: begin with an embedding")

    def need_sequence(self, where: str) -> None:
        """Refuses a layer that needs a time axis after that axis was pooled away."""
        self.need_features(where)
        if self.pooled:
            raise InputError(f"{where}: expected a sequence, but an earlier layer has kept one step of it only")

    def finish(self, metadata: Mapping[str, str]) -> Graph:
        """The graph from `x` to `y`, batch first."""
        self.need_features("layers")
        self.swap(False, OUTPUT)
        return Graph(
            inputs=self._inputs,
            outputs={OUTPUT: self.value},
            nodes=tuple(self._nodes),
            constants=self._constants,
            metadata=metadata,
        )

    def _fresh(self, name: str) -> str:
        """A name that nothing in the graph has yet."""
        taken = {*self._types, *(node.name for node in self._nodes)}
        fresh, count = name, 2
        while fresh in taken or fresh == OUTPUT:
            fresh, count = f"{name}_{count}", count + 1
        return fresh
