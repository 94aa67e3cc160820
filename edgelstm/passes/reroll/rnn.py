"""Find the plain recurrent cell: h' = f(W x + R h + b). Every dense layer looks like it; see `chain.py`."""

from __future__ import annotations

from edgelstm.passes.reroll.cell import Cell, function, of_block, sources
from edgelstm.passes.reroll.trace import Trace


def find(trace: Trace, name: str) -> Cell | None:
    """The cell whose step gives `name`; None where it is no activation of products with constant matrices."""
    found = function(trace, trace.views[name])
    if found is None or trace.views[name].root != name:
        return None
    block = trace.part(found[1], trace.views[name])
    gate = None if block is None else of_block(block, found[0])
    if gate is None or not gate.plain:
        return None
    return Cell("rnn", name, "", (gate,), (gate.function,), sources([gate]))
