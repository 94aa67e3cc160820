"""Which cells are the steps of one layer: equal weights, each taking up the state that the one before gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgelstm.graph.dims import Dim
from edgelstm.graph.ir import Array
from edgelstm.graph.ops import ACTIVATIONS
from edgelstm.passes.reroll import gru, lstm, rnn, single
from edgelstm.passes.reroll.cell import Cell, Gate
from edgelstm.passes.reroll.mask import with_masks
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import Pick, View, whole

TOLERANCE = 1e-6  # relative: biases that one exporter added up and another did not


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A cell of which it is known what is its state and what its input.

    Attributes:
        cell: as it was found.
        h: the source that is the state before; None for zeros.
        x: the other sources.
    """

    cell: Cell
    h: View | None
    x: tuple[View, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What a layer reads at its steps.

    Attributes:
        views: one for each step, in order.
        sequence: one view of all steps in time order, time first; None where they are not the entries of one axis.
        backward: whether the steps take the entries from the last to the first.
    """

    views: tuple[View, ...]
    sequence: View | None
    backward: bool
    constant: bool = False


def find_cells(trace: Trace) -> dict[str, Cell]:
    """h → cell, in the order of the graph. Dense layers are among them: they look like a plain cell."""
    found: dict[str, Cell] = {}
    for node in trace.graph.nodes:
        name = node.outputs[0]
        kind = trace.types.get(name)
        if kind is None or kind.dtype != "float32" or kind.rank < 2 or not isinstance(kind.shape[-1], int):
            continue
        for find in _FINDERS.get(node.op, ()):
            cell = find(trace, name)
            if cell is not None and cell.units == kind.shape[-1]:
                found[name] = cell
                break
    return with_masks(trace, found)


_FINDERS = {
    "mul": (lstm.find, gru.find),
    "add": (gru.find,),
    "sub": (gru.find,),
    **dict.fromkeys(ACTIVATIONS, (rnn.find,)),
}


def find_chains(trace: Trace, told: Mapping[str, str]) -> Iterator[list[Step]]:
    """Layers, each as its steps in order; alone standing cells are layers of one step.

    Args:
        trace: of the graph.
        told: state input → output value, as the caller pairs them.
    """
    cells = find_cells(trace)
    states: dict[str, list[Cell]] = {}
    for cell in cells.values():
        states.setdefault(cell.c, []).append(cell)
    before: dict[str, tuple[Cell, Step]] = {}  # h of a cell → the cell before it, and the cell as a step
    after: dict[str, str] = {}
    first: dict[str, Step] = {}
    for cell in cells.values():
        for step, previous in _links(trace, cell, cells, states):
            if previous.h in after:
                continue
            start = before[previous.h][1] if previous.h in before else _as_before(previous, step)
            if start is None or not _same_weights(start, step):
                continue
            before[cell.h], after[previous.h] = (previous, step), cell.h
            first.setdefault(previous.h, start)
            break
    for name, cell in cells.items():
        if name in before:
            continue
        if name not in after:
            h = single.state_of(trace, cell, told)
            if h is not None:
                yield [_step(cell, h)]
            continue
        steps = [first[name]]
        while steps[-1].cell.h in after:
            steps.append(before[after[steps[-1].cell.h]][1])
        yield steps


def _links(
    trace: Trace, cell: Cell, cells: Mapping[str, Cell], states: Mapping[str, Sequence[Cell]]
) -> Iterator[tuple[Step, Cell]]:
    """The cells whose state this one may take up, and the step that it is then."""
    if not cell.whole:
        return
    if cell.op == "lstm":
        c = cell.before_c
        known = states.get(c.root, ()) if isinstance(c, View) and _is_whole(trace, c) else ()
        candidates = [whole(previous.h, trace.types[previous.h]).core for previous in known]
        if cell.before_h is not None:
            candidates = [view for view in candidates if view == cell.before_h]
    else:
        candidates = list(cell.sources) if cell.before_h is None else [cell.before_h]
    for view in candidates:
        if view in cell.sources and view.root in cells and _is_whole(trace, view):
            previous = cells[view.root]
            if previous.op == cell.op and previous is not cell:
                yield _step(cell, view), previous


def _is_whole(trace: Trace, view: View) -> bool:
    return view.core == whole(view.root, trace.types[view.root]).core


def _step(cell: Cell, h: View | None) -> Step:
    return Step(cell, h, tuple(view for view in cell.sources if view != h))


def _as_before(cell: Cell, after: Step) -> Step | None:
    """The first cell of a chain as a step: its state is the source that has the weights of the state of the next."""
    if cell.op == "gru" or cell.before_h is not None:
        return _step(cell, cell.before_h)
    if len(cell.sources) == len(after.x):
        return _step(cell, None)
    assert after.h is not None
    fitting = [view for view in cell.sources if _same_weights(_step(cell, view), after)]
    return _step(cell, fitting[0]) if len(fitting) == 1 else None


def _same_weights(one: Step, other: Step) -> bool:
    """Whether two cells compute the same, as far as a state of zeros lets it be seen."""
    a, b = one.cell, other.cell
    if (a.op, a.functions, a.units) != (b.op, b.functions, b.units) or len(one.x) != len(other.x):
        return False
    if (a.mask and a.mask[1]) != (b.mask and b.mask[1]):
        return False
    if a.inner is not None and b.inner is not None and not _same_biases(a.inner, b.inner):
        return False
    views = [*zip(one.x, other.x, strict=True), *([(one.h, other.h)] if one.h is not None else [])]
    gates = [*zip(a.gates, b.gates, strict=True), *([(a.inner, b.inner)] if a.inner and a.inner.terms else [])]
    for mine, theirs in gates:
        if mine is None:
            continue
        if theirs is None or not _same_biases(mine, theirs):
            return False
        for left, right in views:
            if not _equal(mine.terms.get(left), theirs.terms.get(right)):  # type: ignore[arg-type]
                return False
    return True


def _equal(left: Array | None, right: Array | None) -> bool:
    if left is None or right is None:
        return left is right
    return left is right or np.array_equal(left, right)


def _same_biases(one: Gate, other: Gate) -> bool:
    mine, theirs = sum(one.constants), sum(other.constants)
    return bool(np.allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE))


def inputs_of(steps: Sequence[Step]) -> list[Inputs]:
    """What the steps of a layer read, source by source."""
    return [_inputs(views) for views in zip(*(step.x for step in steps), strict=True)]


def mask_of(trace: Trace, steps: Sequence[Step]) -> Inputs | None:
    """The masks of the steps of a layer."""
    names = [step.cell.mask[0] for step in steps if step.cell.mask is not None]
    return _inputs(tuple(trace.views[name].core for name in names)) if names else None


def _inputs(views: tuple[View, ...]) -> Inputs:
    first = views[0]
    if len(views) == 1:
        return Inputs(views, None, False)
    if all(view == first for view in views):
        return Inputs(views, None, False, constant=True)
    axis = _moving_axis(views)
    if axis is None:
        return Inputs(views, None, False)
    starts: list[Dim] = [view.picks[axis].start for view in views]
    stride = starts[1] - starts[0]
    if not isinstance(stride, int) or any(b - a != stride for a, b in pairwise(starts)):
        return Inputs(views, None, False)
    backward = stride < 0
    pick = Pick(starts[-1] if backward else starts[0], len(views), abs(stride))
    picks = (*first.picks[:axis], pick, *first.picks[axis + 1 :])
    return Inputs(views, View(first.root, picks, ((axis,), *first.axes)), backward)


def _moving_axis(views: tuple[View, ...]) -> int | None:
    """The one axis along which views of the same root take single entries."""
    first = views[0]
    if any((view.root, view.axes) != (first.root, first.axes) for view in views):
        return None
    moving = {
        axis
        for view in views
        for axis, (mine, theirs) in enumerate(zip(first.picks, view.picks, strict=True))
        if mine != theirs
    }
    if len(moving) != 1:
        return None
    (axis,) = moving
    return axis if all(view.picks[axis].count is None for view in views) else None
