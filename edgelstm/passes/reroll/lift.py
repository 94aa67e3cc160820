"""Turn the body of a loop over time into operators over whole sequences.

The body is a graph of one step. What it reads at each step is an entry of a sequence; what it carries from step to
step must be the state of recurrent cells. Cells become nodes over all steps, and everything else, which then depends on
no state, is computed for all steps at once, with time as its first axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgelstm.errors import UnsupportedError
from edgelstm.graph.dims import Dim, Expr, product, substitute, symbols
from edgelstm.graph.ir import Graph, Node
from edgelstm.passes.reroll.cell import Cell
from edgelstm.passes.reroll.chain import Inputs, Step, find_cells
from edgelstm.passes.reroll.emit import Writer, layer
from edgelstm.passes.reroll.mask import before, choices
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import Pick, View, whole


@dataclass(frozen=True, slots=True)
class Body:
    """One step of a loop.

    Attributes:
        graph: its inputs are the states before and everything from outside; its outputs are not looked at.
        step: the symbol in sizes of the body that is 1 at the first step and grows by 1.
        count: number of steps.
        states: input of the body → the value that the next step gets for it.
        start: input of the body → the value outside that it starts from; absent for zeros.
        given: values that a step gives.
    """

    graph: Graph
    step: str
    count: Dim
    states: Mapping[str, str]
    start: Mapping[str, str]
    given: Sequence[str]


@dataclass(frozen=True, slots=True)
class Lifted:
    """A loop as operators over whole sequences.

    Attributes:
        writer: holds the nodes, constants and types.
        given: value of a step → the values of all steps, time first.
        last: state → its value after the last step.
        cells: what was found, for reports.
    """

    writer: Writer
    given: Mapping[str, str]
    last: Mapping[str, str]
    cells: tuple[Cell, ...]


def lift(body: Body, free: Callable[[str], str]) -> Lifted:
    """The body over all steps.

    Args:
        body: of the loop.
        free: gives a name that nothing has.

    Raises:
        UnsupportedError: the body carries or computes something that is no recurrent cell; names the node.
    """
    return _Lift(body, free).run()


class _Lift:
    def __init__(self, body: Body, free: Callable[[str], str]) -> None:
        self.body, self.trace = body, Trace(body.graph)
        self.writer = Writer(self.trace, free)
        self.still = {name for name in (*body.graph.inputs, *body.graph.constants) if name not in body.states}
        self.moving: dict[str, str] = {}  # value of a step → all steps
        self.alike: dict[str, str] = {}  # choice between a cell's new h and another state that starts alike → its h
        self.last: dict[str, str] = {}
        self.cells = self._carried()
        self.twins = self._twins()

    def run(self) -> Lifted:
        for node in self.body.graph.nodes:
            self._node(node)
        for state, after in self.body.states.items():
            if state not in self.last:
                self.last[state] = self.last[self.twins[state]] if state in self.twins else self._last(after)
        for name in self.body.given:
            if name not in self.moving and name not in self.still:
                raise self._refuse(name)
        given = {name: self.moving.get(name) or self._repeat(name) for name in self.body.given}
        return Lifted(self.writer, given, self.last, tuple(cell.cell for cell in self.cells.values()))

    def _carried(self) -> dict[str, Step]:
        """h → the cell that takes up its own state."""
        found: dict[str, Step] = {}
        cells = find_cells(self.trace)
        for state, after in self.body.states.items():
            cell = cells.get(self.trace.views[after].root)
            h = whole(state, self.trace.types[state]).core
            if cell is None or not cell.whole or h not in cell.sources or not self._same(after, cell.h):
                continue
            if cell.before_h not in (None, h):
                continue
            if cell.op == "lstm" and not self._takes_up_c(cell):
                continue
            found[cell.h] = Step(cell, h, tuple(view for view in cell.sources if view != h))
        return found

    def _twins(self) -> dict[str, str]:
        """State → the h of a cell with a mask that it repeats: what Keras keeps to give out where the mask holds."""
        found: dict[str, str] = {}
        made = {step.cell.made: step for step in self.cells.values() if step.cell.mask is not None}
        for choice in choices(self.trace):
            step = made.get(choice.new)
            if step is None or step.h is None or choice.mask != step.cell.mask or choice.value == step.cell.h:
                continue
            twin = before(self.trace, choice.old)
            for state, after in self.body.states.items():
                same = twin == whole(state, self.trace.types[state]).core and self._same(after, choice.value)
                if same and self.body.start.get(state) == self.body.start.get(step.h.root):
                    found[state] = step.h.root
                    self.alike[choice.value] = step.cell.h
        return found

    def _takes_up_c(self, cell: Cell) -> bool:
        c = cell.before_c
        if not isinstance(c, View) or c.root not in self.body.states or not cell.c:
            return False
        return c == whole(c.root, self.trace.types[c.root]).core and self._same(self.body.states[c.root], cell.c)

    def _same(self, name: str, other: str) -> bool:
        """Whether two values hold the same entries in the same order."""
        return self.trace.views[name].core == whole(other, self.trace.types[other]).core

    def _node(self, node: Node) -> None:
        inputs = [name for name in node.inputs if name]
        at_step = self.body.step in _symbols(node)
        if node.outputs[0] in self.alike:
            self._give(self.alike[node.outputs[0]])
            self.moving[node.outputs[0]] = self.moving[self.alike[node.outputs[0]]]
        elif node.outputs[0] in self.cells:
            self._give(node.outputs[0])
        elif all(name in self.still for name in inputs):
            if not at_step:
                self.writer.nodes.append(node)
                self.still.update(filter(None, node.outputs))
            elif node.op == "slice":
                self._entries(node)
        elif node.op in _RULES and not at_step and all(name in self.still or name in self.moving for name in inputs):
            self.moving[node.outputs[0]] = _RULES[node.op](self, node)

    def _entries(self, node: Node) -> None:
        """The entry of a sequence that a step reads: the whole sequence, time first."""
        view = self.sequence(self.trace.views[node.outputs[0]])
        kind = self.trace.types[node.outputs[0]]
        if view is not None:
            name = node.outputs[0]
            self.moving[name] = self.writer.view(view, (self.body.count, *kind.shape), name)

    def sequence(self, view: View) -> View | None:
        """The entries that a view takes at all steps, time first; None where they are not spaced evenly."""
        axes = [axis for axis, pick in enumerate(view.picks) if self.body.step in _names(pick.start)]
        if len(axes) != 1:
            return None
        (axis,) = axes
        start, then = (substitute(view.picks[axis].start, {self.body.step: step}) for step in (1, 2))
        stride = then - start
        if view.picks[axis].count is not None or not isinstance(stride, int) or stride == 0:
            return None
        picks = (*view.picks[:axis], Pick(start, self.body.count, stride), *view.picks[axis + 1 :])
        return View(view.root, picks, ((axis,), *view.axes))

    def _give(self, h: str) -> None:
        """Write the cell that gives h, unless that was done."""
        if h not in self.moving:
            self._cell(self.cells[h])

    def _cell(self, step: Step) -> None:
        cell, kind = step.cell, self.trace.types[step.cell.h]
        batch = product(kind.shape[:-1])
        inputs = [self._input(view, cell) for view in step.x]
        assert step.h is not None
        h0 = self._start(step.h.root, batch)
        c0 = self._start(cell.before_c.root, batch) if isinstance(cell.before_c, View) else ""
        keep = self._keep(cell, batch)
        y, h, c = layer(self.writer, step, inputs, self.body.count, batch, h0, c0, keep)
        self.moving[cell.h] = self.writer.reshape(y, (self.body.count, *kind.shape), cell.h)
        for state, after in self.body.states.items():
            for value, found in ((cell.h, h), (cell.c, c)):
                if value and self._same(after, value):
                    self.last[state] = self.writer.reshape(found, self.trace.types[state].shape, cell.h)

    def _keep(self, cell: Cell, batch: Dim) -> str:
        """The steps that a mask leaves out, as (count, batch)."""
        if cell.mask is None:
            return ""
        name, kept = cell.mask
        if name not in self.moving:
            raise self._refuse(name)
        found = self.writer.reshape(self.moving[name], (self.body.count, batch), name)
        return found if kept else self.writer.emit("not", [found], name)

    def _input(self, view: View, cell: Cell) -> Inputs:
        """What a cell reads at all steps."""
        if view.root in self.still:
            sequence = self.sequence(view)
            constant = not any(self.body.step in _names(pick.start) for pick in view.picks)
            if sequence is not None or constant:
                return Inputs((view,), sequence, False, constant=sequence is None)
        elif view.root in self.moving:
            picks = (Pick(0, self.body.count), *view.picks)
            axes = ((0,), *(tuple(axis + 1 for axis in group) for group in view.axes))
            return Inputs((view,), View(self.moving[view.root], picks, axes), False)
        raise self._refuse(view.root if view.root not in self.still else cell.h)

    def _start(self, state: str, batch: Dim) -> str:
        if state not in self.body.start:
            return ""
        name = self.body.start[state]
        size = self.trace.types[state].shape[-1]
        return self.writer.reshape(name, (1, batch, size), name)

    def _last(self, after: str) -> str:
        """The last value of a state that is none: each step gives it anew."""
        if after in self.still:
            return after
        if after not in self.moving:
            raise self._refuse(after)
        name = self.moving[after]
        count = self.body.count
        part = self.writer.emit("slice", [name], after, axes=(0,), starts=(count - 1,), stops=(count,), steps=(1,))
        return self.writer.reshape(part, self.trace.types[after].shape, after)

    def _repeat(self, name: str) -> str:
        """A value that is the same at every step."""
        shape = self.writer.types[name].shape
        return self.writer.emit("broadcast", [name], name, shape=(self.body.count, *shape))

    def at_all_steps(self, name: str, rank: int) -> str:
        """A value over all steps, with room for broadcasting against values of `rank` axes at each."""
        if name not in self.moving:
            return name
        shape = self.trace.types[name].shape
        room = (1,) * (rank - len(shape))
        return self.writer.reshape(self.moving[name], (self.body.count, *room, *shape), name)

    def emit(self, node: Node, inputs: Sequence[str], **attrs: Any) -> str:
        """The node on other inputs."""
        output = self.writer.fresh(node.outputs[0])
        self.writer.add(node.op, inputs, [output], node.name, **{**node.attrs, **attrs})
        return output

    def _refuse(self, name: str) -> UnsupportedError:
        """Name what depends on the step before without being a cell."""
        node = self.trace.makers.get(name)
        what = node.where if node is not None else f"the value {name!r}"
        return UnsupportedError(
            f"its body is no LSTM, GRU or plain recurrent cell: {what} depends on the step before in another way."
            " Loops other than recurrent layers are not supported"
        )


def _names(dim: Dim) -> frozenset[str]:
    return symbols(dim)


def _symbols(node: Node) -> set[str]:
    found: set[str] = set()
    for value in node.attrs.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Expr):
                found |= symbols(item)
    return found


# How an operator of one step is written for all steps: time is one more axis in front.


def _pointwise(work: _Lift, node: Node) -> str:
    rank = work.trace.types[node.outputs[0]].rank
    return work.emit(node, [work.at_all_steps(name, rank) for name in node.inputs])


def _linear(work: _Lift, node: Node) -> str:
    if any(name in work.moving for name in node.inputs[1:]):
        raise UnsupportedError(f"{node.where} has weights that change from step to step")
    return work.emit(node, [work.moving[node.inputs[0]], *node.inputs[1:]])


def _matmul(work: _Lift, node: Node) -> str:
    kinds = [work.trace.types[name] for name in node.inputs]
    if min(kind.rank for kind in kinds) < 2:
        raise UnsupportedError(f"{node.where} multiplies a vector inside a loop, which is not supported")
    rank = max(kind.rank for kind in kinds)
    return work.emit(node, [work.at_all_steps(name, rank) for name in node.inputs])


def _axis(node: Node, rank: int, axis: Any) -> int:
    return int(axis) % rank + 1


def _reshape(work: _Lift, node: Node) -> str:
    shape = work.trace.types[node.outputs[0]].shape
    return work.emit(node, [work.moving[node.inputs[0]]], shape=(work.body.count, *shape))


def _broadcast(work: _Lift, node: Node) -> str:
    shape = work.trace.types[node.outputs[0]].shape
    return work.emit(node, [work.at_all_steps(node.inputs[0], len(shape))], shape=(work.body.count, *shape))


def _transpose(work: _Lift, node: Node) -> str:
    perm: Any = node.attrs["perm"]
    return work.emit(node, [work.moving[node.inputs[0]]], perm=(0, *(axis + 1 for axis in perm)))


def _with_axes(work: _Lift, node: Node) -> str:
    axes: Any = node.attrs["axes"]
    rank = work.trace.types[node.inputs[0]].rank
    return work.emit(node, [work.moving[node.inputs[0]]], axes=tuple(_axis(node, rank, axis) for axis in axes))


def _with_axis(work: _Lift, node: Node) -> str:
    rank = work.trace.types[node.inputs[0]].rank
    inputs = [work.moving[node.inputs[0]], *node.inputs[1:]]
    return work.emit(node, inputs, axis=_axis(node, rank, node.attrs["axis"]))


def _concat(work: _Lift, node: Node) -> str:
    inputs = [work.moving.get(name) or work._repeat(name) for name in node.inputs]
    return work.emit(node, inputs, axis=_axis(node, work.trace.types[node.inputs[0]].rank, node.attrs["axis"]))


def _gather(work: _Lift, node: Node) -> str:
    table, indices = node.inputs
    axis = int(str(node.attrs["axis"]))
    if indices not in work.moving:
        return work.emit(node, [work.moving[table], indices], axis=_axis(node, work.trace.types[table].rank, axis))
    if table in work.moving or axis % work.trace.types[table].rank:
        raise UnsupportedError(
            f"{node.where} picks other entries of another table at each step, which is not supported"
        )
    return work.emit(node, [table, work.moving[indices]])


_POINTWISE = (
    *("sigmoid", "tanh", "relu", "affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu"),
    *("softsign", "softplus", "exp", "log", "sqrt", "reciprocal", "erf", "neg", "abs", "not", "identity", "cast"),
    *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "equal", "less", "greater", "and", "or", "where"),
)

_RULES: dict[str, Callable[[_Lift, Node], str]] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(("softmax", "log_softmax", "layer_norm", "argmax"), _with_axis),
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod", "slice"), _with_axes),
    "linear": _linear,
    "matmul": _matmul,
    "reshape": _reshape,
    "broadcast": _broadcast,
    "transpose": _transpose,
    "concat": _concat,
    "gather": _gather,
}
