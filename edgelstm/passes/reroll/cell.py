"""A recurrent cell as it was found among the operators of a graph, one step of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from edgelstm.graph.ir import Array
from edgelstm.graph.ops import ACTIVATIONS
from edgelstm.passes.reroll.term import Block
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import View

Mask: TypeAlias = tuple[str, bool]  # a boolean, and whether a row keeps its state where it holds
Function: TypeAlias = tuple[str, float, float]  # an activation with its alpha and beta

IDENTITY: Function = ("affine", 1.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """An activation of sums of products.

    Attributes:
        function: the activation.
        terms: what is multiplied → the matrix (units, features).
        constants: biases (units,).
        own: diagonal products, unit by unit: view → row (units,).
        paired: two views of which the products are added, unit by unit.
    """

    function: Function
    terms: Mapping[View, Array]
    constants: tuple[Array, ...] = ()
    own: tuple[tuple[View, Array], ...] = ()
    paired: tuple[tuple[View, View], ...] = ()

    @property
    def plain(self) -> bool:
        """Whether matrices and biases are all there is."""
        return not self.own and not self.paired


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One step of a cell.

    Attributes:
        op: "lstm", "gru" or "rnn".
        h: the value that the step gives.
        c: the cell state that the step gives, or "".
        gates: in ONNX's order: i, o, f, c of an LSTM; z, r, h of a GRU; None where a state of zeros hides a gate.
        functions: the activations as the operator lists them.
        sources: everything that the gates multiply by a matrix, in the order of the graph.
        before_h: the state before, where the shape of the cell tells it; else None.
        before_c: the cell state before: a view, a constant row, or None for zeros.
        attrs: attributes beyond those of all cells.
        inner: of a GRU that resets after the product: the product of the candidate.
        mask: where the step is not taken.
        made: with a mask, the h that the step makes; `h` and `c` are then what it leaves.
    """

    op: str
    h: str
    c: str
    gates: tuple[Gate | None, ...]
    functions: tuple[Function, ...]
    sources: tuple[View, ...]
    before_h: View | None = None
    before_c: View | Array | None = None
    attrs: Mapping[str, Any] | None = None
    inner: Gate | None = None
    mask: Mask | None = None
    made: str = ""

    @property
    def units(self) -> int:
        """Number of hidden units."""
        return next(len(matrix) for gate in self.gates if gate is not None for matrix in gate.terms.values())

    @property
    def whole(self) -> bool:
        """Whether every gate is seen."""
        return all(gate is not None for gate in self.gates)


def function(trace: Trace, view: View) -> tuple[Function, str] | None:
    """The activation that makes a value, and what it is applied to."""
    node = trace.makers.get(view.root)
    if node is None or node.op not in ACTIVATIONS:
        return None
    alpha, beta = (float(node.attrs.get(name, 0.0)) for name in ("alpha", "beta"))  # type: ignore[arg-type]
    return (node.op, alpha, beta), node.inputs[0]


def gate(trace: Trace, view: View) -> Gate | None:
    """The gate that a view shows; None where it is made in another way."""
    found = function(trace, view)
    block = trace.part(found[1], view) if found else trace.part(view.root, view)
    return None if block is None else of_block(block, found[0] if found else IDENTITY)


def of_block(block: Block, function: Function = IDENTITY) -> Gate | None:
    """A gate of a sum that takes at least one product with a matrix."""
    terms: dict[View, Array] = {}
    own, paired = [], []
    for key, coefficient in block.terms.items():
        if coefficient.ndim == 2:
            core = key[0].core
            terms[core] = terms[core] + coefficient if core in terms else coefficient
        elif len(key) == 1:
            own.append((key[0].core, coefficient))
        elif np.all(coefficient == 1):
            paired.append((key[0].core, key[1].core))
        else:
            return None
    return Gate(function, terms, block.constants, tuple(own), tuple(paired)) if terms else None


def sources(gates: Iterable[Gate | None]) -> tuple[View, ...]:
    """Everything that gates multiply, each once."""
    return tuple(dict.fromkeys(view for gate in gates if gate is not None for view in gate.terms))


def pairs(block: Block, *signs: int) -> list[tuple[View, View]] | None:
    """The products of two views that a block is the sum of, with these signs; None where it is something else."""
    if block.constants or len(block.terms) != len(signs):
        return None
    found = []
    for key, coefficient in block.terms.items():
        if len(key) != 2 or not np.all(coefficient == 1):
            return None
        found.append((key[0], key[1]))
    return found
