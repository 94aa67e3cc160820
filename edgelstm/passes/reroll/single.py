"""Which input of a cell that stands alone is its state.

A GRU tells by itself. In an LSTM the state h and the input x are multiplied alike, and a plain cell is no more than a
dense layer; what they are follows from where their operands come from and where the result goes. Which is taken for
the state changes no output of the graph, but it decides which inputs and outputs a stream pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgelstm.passes.reroll.cell import Cell
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import MOVES, View

PLAIN = ("tanh", "relu")  # what a plain cell that stands alone may have for its activation


def state_of(trace: Trace, cell: Cell, told: Mapping[str, str]) -> View | None:
    """The source of the cell that is its state before; None where that cannot be told.

    Args:
        trace: of the graph.
        cell: found in it.
        told: state input → output value, as the caller pairs them.
    """
    if not cell.whole:
        return None
    if cell.op == "gru" or cell.before_h is not None:
        return cell.before_h
    candidates = [view for view in cell.sources if _columns(cell, view) == cell.units]
    pairs = {name for name, value in told.items() if cell.h in shown_by(trace, value)}
    if pairs:
        return _only([view for view in candidates if view.root in pairs])
    candidates = [view for view in candidates if view.root not in told]
    if cell.op == "lstm":
        return _state_of_lstm(trace, cell, candidates)
    return _state_of_rnn(trace, cell, candidates)


def _state_of_lstm(trace: Trace, cell: Cell, candidates: Sequence[View]) -> View | None:
    if len(candidates) == 1:
        return candidates[0]
    given = [view for view in candidates if view.root in trace.graph.inputs]
    if len(given) == 1:
        return given[0]
    c = cell.before_c
    beside = [view for view in given if isinstance(c, View) and view.root == c.root]
    return _only(beside) or _named(given)


def _state_of_rnn(trace: Trace, cell: Cell, candidates: Sequence[View]) -> View | None:
    """A plain cell must give what it takes: an input of the model, and an output of the same type."""
    if cell.functions[0][0] not in PLAIN or len(cell.sources) < 2:
        return None
    kinds = {trace.types[value] for value in trace.graph.outputs.values() if cell.h in shown_by(trace, value)}
    given = [view for view in candidates if trace.graph.inputs.get(view.root) in kinds]
    return _only(given) or _named(given)


def shown_by(trace: Trace, value: str) -> set[str]:
    """The values that a value is put together from, moved but not changed."""
    found: set[str] = set()
    todo = [value]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        node = trace.makers.get(name)
        if node is not None and node.op in (*MOVES, "concat"):
            todo += node.inputs
    return found


def _columns(cell: Cell, view: View) -> int:
    return next(int(gate.terms[view].shape[1]) for gate in (*cell.gates, cell.inner) if gate and view in gate.terms)


def _only(views: Sequence[View]) -> View | None:
    return views[0] if len(views) == 1 else None


def _named(views: Sequence[View]) -> View | None:
    """Names break a tie: the one that is called h, hidden or state."""
    names = {view: view.root.lower() for view in views}
    return _only([view for view, name in names.items() if name[:1] == "h" or "hidden" in name or "state" in name])
