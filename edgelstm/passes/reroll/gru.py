"""Find the GRU cell by the roles that values play in it.

    h' = (1 - z) * n + z * h
    n  = g(W x + b + r * (R h + b'))     reset after the product (linear_before_reset=1), or
    n  = g(W x + R (r * h) + b)          reset before it

(`edgelstm/reference/gru.py`). Multiplied out, every way to write the first line is z * h - z * n + n, and the
textbooks' form (Chung 2014), in which z keeps the candidate, is h - z * h + z * n: the same cell with z negated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgelstm.graph.ir import Array
from edgelstm.passes.reroll.cell import Cell, Gate, gate, of_block, pairs, sources
from edgelstm.passes.reroll.term import Block
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import View


def find(trace: Trace, name: str) -> Cell | None:
    """The cell whose step gives `name` as its h; None where it is none."""
    block = trace.value(name).one
    if block is None or block.constants:
        return None
    for z, n, h, negated in _roles(block):
        update, candidate = gate(trace, z), gate(trace, n)
        if update is None or not update.plain or candidate is None:
            continue
        if negated:
            if update.function[0] != "sigmoid":
                continue
            update = replace(
                update,
                terms={view: -matrix for view, matrix in update.terms.items()},
                constants=tuple(-row for row in update.constants),
            )
        cell = _after(trace, name, update, candidate, h) or _before(trace, name, update, candidate, h)
        if cell is not None:
            return cell
    return None


def _roles(block: Block) -> Iterator[tuple[View, View, View | None, bool]]:
    """Update gate, candidate, state before and whether z keeps the candidate, in every way that h' can be read."""
    signs = {key: _sign(coefficient) for key, coefficient in block.terms.items()}
    plus = [key for key, sign in signs.items() if sign == 1 and len(key) == 2]
    minus = [key for key, sign in signs.items() if sign == -1 and len(key) == 2]
    alone = [key[0] for key, sign in signs.items() if sign == 1 and len(key) == 1]
    if (len(plus), len(minus), len(alone), len(signs)) == (1, 1, 1, 3):
        (single,) = alone
        for z, other in (minus[0], minus[0][::-1]):
            if other == single and z in plus[0]:
                rest = plus[0][1] if plus[0][0] == z else plus[0][0]
                yield z, single, rest.core, False
                yield z, rest, single.core, True
    elif (len(plus), len(minus), len(alone), len(signs)) == (0, 1, 1, 2):  # from a state of zeros
        for z, other in (minus[0], minus[0][::-1]):
            if other == alone[0]:
                yield z, other, None, False
    elif (len(plus), len(signs)) == (1, 1):
        for z, other in (plus[0], plus[0][::-1]):
            yield z, other, None, True


def _sign(coefficient: Array) -> int:
    """1 or -1 where that is the coefficient of every feature, else 0."""
    if coefficient.ndim == 1:
        for sign in (1, -1):
            if np.all(coefficient == sign):
                return sign
    return 0


def _after(trace: Trace, name: str, update: Gate, candidate: Gate, h: View | None) -> Cell | None:
    """linear_before_reset=1: the candidate adds r times a product of h."""
    if h is None:
        return _from_zeros(trace, name, update, candidate)
    if candidate.own or len(candidate.paired) != 1:
        return None
    for first, second in (candidate.paired[0], candidate.paired[0][::-1]):
        reset = _same(trace, first, update)
        block = trace.part(second.root, second)
        inner = None if block is None else of_block(block)
        if reset is not None and inner is not None and inner.plain and set(inner.terms) == {h}:
            gates = (update, reset, replace(candidate, paired=()))
            return _cell(name, gates, h, 1, replace(inner, function=candidate.function))
    return None


def _before(trace: Trace, name: str, update: Gate, candidate: Gate, h: View | None) -> Cell | None:
    """linear_before_reset=0: the candidate multiplies r * h."""
    if not candidate.plain or h is None or h in candidate.terms:
        return None
    for view in candidate.terms:
        block = trace.value(view.root).one
        products = pairs(block, 1) if block is not None and view == block.view.core else None
        for first, second in (products[0], products[0][::-1]) if products else ():
            reset = _same(trace, first, update)
            if second.core == h and reset is not None:
                terms = {h if source == view else source: matrix for source, matrix in candidate.terms.items()}
                return _cell(name, (update, reset, replace(candidate, terms=terms)), h, 0, None)
    return None


def _from_zeros(trace: Trace, name: str, update: Gate, candidate: Gate) -> Cell | None:
    """The first step from a state of zeros: of r * (R h + b') only r * b' is left, or nothing."""
    if candidate.paired or len(candidate.own) > 1:
        return None
    if not candidate.own:
        return _cell(name, (update, None, candidate), None, 0, None)
    ((view, row),) = candidate.own
    reset = _same(trace, view, update)
    inner = Gate(candidate.function, {}, (row,))
    return None if reset is None else _cell(name, (update, reset, replace(candidate, own=())), None, 1, inner)


def _same(trace: Trace, view: View, update: Gate) -> Gate | None:
    """A gate with the activation of `update`."""
    found = gate(trace, view)
    return found if found is not None and found.plain and found.function == update.function else None


def _cell(name: str, gates: tuple[Gate, Gate | None, Gate], h: View | None, after: int, inner: Gate | None) -> Cell:
    functions = (gates[0].function, gates[2].function)
    found = sources((*gates, inner))
    return Cell(
        "gru",
        name,
        "",
        gates,
        functions,
        found,
        before_h=h,
        attrs={"linear_before_reset": after},
        inner=inner,
    )
