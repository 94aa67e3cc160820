"""Put recurrent layers together again that an exporter took apart.

A cell that stands as products, gates and sums is one `lstm`, `gru` or `rnn` node of one step; the same cell repeated
over the entries of a sequence is one node over as many steps. What a value is made of is followed by data flow
(`trace.py`), the cells are recognised by the roles of their operands (`lstm.py`, `gru.py`, `rnn.py`), steps are
linked by the state that one gives and the next takes (`chain.py`), and written as nodes (`emit.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgelstm.graph.bind import substitute_graph
from edgelstm.graph.dims import Expr, symbol, symbols
from edgelstm.graph.ir import Graph
from edgelstm.passes.fold import fold_choices
from edgelstm.passes.reroll.chain import Step, find_chains, inputs_of
from edgelstm.passes.reroll.emit import write
from edgelstm.passes.reroll.free import free_length, free_sizes
from edgelstm.passes.reroll.join import join
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.share import share

__all__ = ["free_length", "reroll"]

Note = Callable[[str, str], None]


def reroll(graph: Graph, note: Note | None = None) -> Graph:
    """The graph with every recurrent layer that was taken apart as one node.

    Outputs are what they were, up to the order in which sums are taken. A number of steps that the exporter fixed
    becomes the symbol T where nothing else depends on it, with its number in `frozen`; else the reason stands in
    `pinned`.

    Args:
        graph: any graph.
        note: is told the name of each layer's last output and what became of it.
    """
    graph = share(fold_choices(graph))
    refused: set[str] = set()
    unrolled: set[str] = set()  # outputs of layers that were several steps
    changed = False
    while True:
        trace = Trace(graph)
        told = {state.input: state.output for state in graph.states}
        chains = [steps for steps in find_chains(trace, told) if steps[-1].cell.h not in refused]
        if not chains:
            break
        steps = min(chains, key=_difficulty)
        fixed = _fix_lengths(trace, steps)
        if fixed is not None:
            graph = fixed
            continue
        written = write(trace, steps)
        if written is None and len(steps) > 1:
            steps = steps[-1:]
            written = write(trace, steps)
        if written is None:
            refused.add(steps[-1].cell.h)
            continue
        (graph, outputs), changed = written, True
        unrolled |= outputs if len(steps) > 1 else set()
        if note is not None:
            count = "one step" if len(steps) == 1 else f"{len(steps)} steps"
            cell = steps[-1].cell
            note(cell.h, f"{cell.op} of {cell.units} units over {count}, put together from single operators")
    if not changed:
        return graph
    graph = join(graph)
    return free_sizes(graph, unrolled) if unrolled else graph


def _difficulty(steps: list[Step]) -> int:
    """Layers that read one sequence first: their outputs are then one sequence to the layers above."""
    entries = inputs_of(steps)
    return sum(entry.sequence is None and not entry.constant for entry in entries) if len(steps) > 1 else 0


def _fix_lengths(trace: Trace, steps: Sequence[Step]) -> Graph | None:
    """A free axis that the unrolled steps read has as many entries as there are steps; None where none is free."""
    for entry in inputs_of(steps):
        if entry.sequence is None:
            continue
        axis = entry.sequence.axes[0][0]
        dim, pick = trace.types[entry.sequence.root].shape[axis], entry.sequence.picks[axis]
        if isinstance(dim, Expr) and isinstance(pick.start, int) and pick.count is not None:
            (name, *more) = symbols(dim)
            if not more and dim == symbol(name):
                size = trace.graph.frozen.get(name, pick.start + pick.count * pick.step - pick.step + 1)
                graph = substitute_graph(trace.graph, {name: size})
                return replace(graph, frozen={key: n for key, n in graph.frozen.items() if key != name})
    return None
