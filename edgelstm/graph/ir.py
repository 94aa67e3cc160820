"""The Graph: a small typed intermediate representation that every model is translated to.

A graph is immutable. Values are known by name; a node applies one operator of the closed table in
`ops.py`; nodes stand in an order in which every value is made before it is used. There are no
loops, no conditionals and no custom code, so cost and memory can be computed before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy.typing as npt

from edgelstm.graph.dims import Dim, Shape

Array: TypeAlias = npt.NDArray[Any]
Attr: TypeAlias = int | float | str | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | tuple[Dim, ...]

DTYPES = ("float32", "int64", "int32", "uint8", "bool")


@dataclass(frozen=True, slots=True)
class TensorType:
    """What is known of a value before anything runs: its dtype (one of `DTYPES`) and shape."""

    dtype: str
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}({', '.join(map(str, self.shape))})"


@dataclass(frozen=True, slots=True)
class Node:
    """One application of an operator.

    Attributes:
        op: a name in `ops.OPS`.
        inputs: value names in the operator's order; "" where an optional input is absent.
        outputs: value names in the operator's order; "" where an output is not wanted.
        attrs: every attribute of the operator, defaults filled in.
        name: what the user's file called it; appears in error messages.
        every: (stride, first): in a one-step graph, the node runs at steps first, first + stride and so on.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    name: str = ""
    every: tuple[int, int] = (1, 0)

    @property
    def where(self) -> str:
        """How an error message names this node."""
        return f"{self.op} node {self.name or next(filter(None, self.outputs), '')!r}"


@dataclass(frozen=True, slots=True)
class State:
    """A value that is carried from one step to the next: input before, output after."""

    input: str
    output: str
    how: str = "caller"  # "caller", "data flow", "name" or "implicit": how the pair was found


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole model.

    Attributes:
        inputs: name → type, in the model's order. Free dimensions are symbols; T and B have meaning.
        outputs: name → the value that it shows, in the model's order.
        nodes: in an order in which every value is made before it is used.
        constants: name → read-only array.
        states: input/output pairs that a stream carries.
        initial: state input name → constant name of its value at the start; absent means zeros.
        frozen: sizes that the exporter fixed although the graph is consistent at any: symbol → size.
        pinned: why a dimension could not be made symbolic: symbol → one sentence naming the constant.
        metadata: free text that travels with the model (name, producer, feature names...).
        scales: int8 constant → float32 scales, see `stored.py`.
        tick: the value, int32 of shape (1,), that counts the steps before this one, where `every` needs it.
    """

    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, str]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    states: tuple[State, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)
    frozen: Mapping[str, int] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, Array] = field(default_factory=dict)
    tick: str = ""
