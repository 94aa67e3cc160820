"""Find the LSTM cell by the roles that values play in it.

    c' = f * c + i * g,  h' = o * fun(c')        with gates i, f, o and the candidate g

(`edgelstm/reference/lstm.py`). Which gate is which follows from what it multiplies: nothing depends on names or on
the order in which an exporter wrote matrices, biases and operands.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgelstm.graph.ir import Array
from edgelstm.passes.reroll.cell import IDENTITY, Cell, Function, Gate, function, gate, pairs, sources
from edgelstm.passes.reroll.term import Block
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import View, whole


def find(trace: Trace, name: str) -> Cell | None:
    """The cell whose step gives `name` as its h; None where it is none."""
    block = trace.value(name).one
    products = pairs(block, 1) if block is not None else None
    if not products:
        return None
    for first, second in (products[0], products[0][::-1]):
        o = gate(trace, first)
        if o is not None and o.plain:
            for fun, c in _shown(trace, second):
                cell = _cell(trace, name, o, fun, c)
                if cell is not None:
                    return cell
    return None


def _shown(trace: Trace, view: View) -> Iterator[tuple[Function, str]]:
    """Activations and the cell states that they may show."""
    if view.core != whole(view.root, trace.types[view.root]).core:
        return
    if (found := function(trace, view)) is not None:
        yield found
    yield IDENTITY, view.root  # taken only where the candidate has no activation either


def _cell(trace: Trace, h: str, o: Gate, fun: Function, c: str) -> Cell | None:
    block = trace.value(c).one if trace.types[c].rank else None
    if block is None:
        return None
    best: Cell | None = None
    for f, i, g, before in _roles(trace, block, o):
        if fun == IDENTITY and g.function != IDENTITY:
            continue
        gates = (i, o, f, g)
        cell = Cell(
            "lstm",
            h,
            c,
            gates,
            (o.function, g.function, fun),
            sources(gates),
            before_c=before,
            attrs={"input_forget": 0},
        )
        if set(sources((i, f, g))) == set(o.terms):
            return cell
        best = best or cell
    return best


def _roles(trace: Trace, block: Block, o: Gate) -> Iterator[tuple[Gate | None, Gate, Gate, View | Array | None]]:
    """Forget gate, input gate, candidate and the state before, in every way that the sum c' can be read."""
    if block.constants:
        return
    products = [key for key, coefficient in block.terms.items() if len(key) == 2 and np.all(coefficient == 1)]
    rows = [(key[0], coefficient) for key, coefficient in block.terms.items() if len(key) == 1]
    if len(products) == 2 and not rows and len(block.terms) == 2:
        for kept, new in (products, products[::-1]):
            for one, before in (kept, kept[::-1]):
                f = _same(trace, one, o)
                for i, g in _inputs(trace, new, o) if f is not None else ():
                    yield f, i, g, before.core
    elif len(products) == 1 and len(rows) <= 1 and len(block.terms) == 1 + len(rows):
        f = _same(trace, rows[0][0], o) if rows else None
        if not rows or (f is not None and rows[0][1].ndim == 1):
            for i, g in _inputs(trace, products[0], o):
                yield f, i, g, rows[0][1] if rows else None


def _inputs(trace: Trace, product: tuple[View, ...], o: Gate) -> Iterator[tuple[Gate, Gate]]:
    """Input gate and candidate: the gate has the activation of the other gates."""
    for first, second in (product, product[::-1]):
        i, g = _same(trace, first, o), gate(trace, second)
        if i is not None and g is not None and g.plain:
            yield i, g


def _same(trace: Trace, view: View, o: Gate) -> Gate | None:
    """A gate with the activation of `o`."""
    found = gate(trace, view)
    return found if found is not None and found.plain and found.function == o.function else None
