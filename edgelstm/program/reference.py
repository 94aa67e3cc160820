"""The reference executor: a Graph evaluated node by node in NumPy.

It shares nothing with lowering, verification or the kernels, so it is what they are tested against; it is
also what runs where there is no numba.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgelstm.graph.ir import Graph, Node
from edgelstm.graph.stored import value
from edgelstm.reference import RECURRENT, REFERENCE, evaluate, trace
from edgelstm.reference.arguments import Array


class Reference:
    """A graph with every dimension bound to a size, ready to be called.

    Args:
        graph: concrete; it has passed the checks of `edgelstm.graph`.
        dtype: what float values are computed in, "float32" or "float64".

    Raises:
        KeyError: the graph uses an operator without a definition.
    """

    def __init__(self, graph: Graph, dtype: str = "float32") -> None:
        for node in graph.nodes:
            REFERENCE[node.op]
        self.graph = graph
        self.dtype = np.dtype(dtype)
        self._constants = {name: self._float(value(graph, name)) for name in graph.constants}

    def call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name; those that are not due at this step are left out."""
        values = self.values(inputs)
        return {name: values[value] for name, value in self.graph.outputs.items() if value in values}

    def values(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every value of the graph by name for inputs by name; those that are not due at this step are left out."""
        return self._run(inputs, traced=False)[0]

    def trace(self, inputs: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
        """What every recurrent node went through: node name (or its first output's) → gate or state → (T, D, B, n)."""
        return self._run(inputs, traced=True)[1]

    def _run(self, inputs: Mapping[str, Array], traced: bool) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
        values = {**self._constants, **{name: self._float(np.asarray(inputs[name])) for name in self.graph.inputs}}
        seen: dict[str, dict[str, Array]] = {}
        for node in self.graph.nodes:
            if not self._due(node, values):
                continue
            given = [values[name] if name else None for name in node.inputs]
            if traced and node.op in RECURRENT:
                outputs, seen[_label(node)] = trace(node, given)
            else:
                outputs = evaluate(node, given)
            values.update({name: self._float(value) for name, value in zip(node.outputs, outputs, strict=True) if name})
        return values, seen

    def _due(self, node: Node, values: Mapping[str, Array]) -> bool:
        stride, first = node.every
        if node.every == (1, 0):
            return True
        since = int(values[self.graph.tick][0]) - first
        return since >= 0 and since % stride == 0

    def _float(self, value: Array) -> Array:
        return value.astype(self.dtype, copy=False) if np.issubdtype(value.dtype, np.floating) else value


def _label(node: Node) -> str:
    return node.name or next(name for name in node.outputs if name)
