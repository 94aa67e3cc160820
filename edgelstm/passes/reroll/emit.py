"""Write a layer that was found as one node of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgelstm.graph.dims import Dim, Shape, product
from edgelstm.graph.ir import Array, Attr, Graph, Node, TensorType
from edgelstm.graph.ops import infer, make_node
from edgelstm.graph.shapes import RECURRENT_INPUTS
from edgelstm.passes.reroll.cell import Cell, Gate, Mask
from edgelstm.passes.reroll.chain import Inputs, Step, inputs_of, mask_of
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import Pick, View


class Writer:
    """Nodes and constants to be added to a graph."""

    def __init__(self, trace: Trace, free: Callable[[str], str] | None = None) -> None:
        self.trace = trace
        self._free = free
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.types = dict(trace.types)

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        if self._free is not None:
            return self._free(name)
        while name in self.types:
            name += "'"
        return name

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, **attrs: Attr) -> Node:
        """A node; its outputs get the names given."""
        node = make_node(op, inputs, outputs, name, **attrs)
        kinds = infer(node, [self.types[value] if value else None for value in node.inputs])
        self.nodes.append(node)
        self.types |= {value: kind for value, kind in zip(node.outputs, kinds, strict=True) if value}
        return node

    def emit(self, op: str, inputs: Sequence[str], near: str, **attrs: Attr) -> str:
        """The output of a node with one output, under a name like `near`."""
        output = self.fresh(f"{near}/{op}")
        self.add(op, inputs, [output], near, **attrs)
        return output

    def constant(self, array: Array, near: str) -> str:
        """A new constant."""
        name = self.fresh(near)
        kept = np.ascontiguousarray(array, np.float32)
        kept.flags.writeable = False
        self.constants[name], self.types[name] = kept, TensorType("float32", kept.shape)
        return name

    def view(self, view: View, shape: tuple[Dim, ...], near: str) -> str:
        """A value with the entries of a view, in a shape."""
        name, kind = view.root, self.types[view.root]
        partial = [
            (axis, pick.start, pick.start + pick.size * pick.step, pick.step)
            for axis, (pick, size) in enumerate(zip(view.picks, kind.shape, strict=True))
            if (pick.start, pick.size, pick.step) != (0, size, 1)
        ]
        if partial:
            axes, starts, stops, steps = zip(*partial, strict=True)
            name = self.emit("slice", [name], near, axes=axes, starts=starts, stops=stops, steps=steps)
        order = view.order
        if list(order) != sorted(order):
            name = self.reshape(name, [view.picks[axis].size for axis in sorted(order)], near)
            name = self.emit("transpose", [name], near, perm=tuple(sorted(order).index(axis) for axis in order))
        return self.reshape(name, shape, near)

    def reshape(self, name: str, shape: Sequence[Dim], near: str) -> str:
        """A value in another shape; itself where it has that shape."""
        if self.types[name].shape == tuple(shape):
            return name
        return self.emit("reshape", [name], near, shape=tuple(shape))

    def bind(self, source: str, name: str) -> None:
        """Give a value of the graph a new maker: `source` in the shape of before."""
        kind = self.trace.types[name]
        self.nodes.append(make_node("reshape", [source], [name], "", shape=kind.shape))

    def finish(self, replaced: set[str]) -> Graph | None:
        """The graph with the new nodes, and those that made `replaced` taken out; None where that makes a circle."""
        graph = self.trace.graph
        kept = [node for node in graph.nodes if not replaced.intersection(node.outputs)]
        nodes = sort_nodes([*kept, *self.nodes], {*graph.inputs, *graph.constants, *self.constants})
        if nodes is None:
            return None
        return trimmed(replace(graph, nodes=nodes, constants={**graph.constants, **self.constants}))


def sort_nodes(nodes: Sequence[Node], made: set[str]) -> tuple[Node, ...] | None:
    """Nodes in an order in which every value is made before it is used; None where there is none."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    state = [0] * len(nodes)  # 1: its inputs are being looked at; 2: done
    order: list[int] = []
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            index = stack[-1]
            if state[index] == 0:
                state[index] = 1
                for name in nodes[index].inputs:
                    if name and name not in made:
                        maker = makers[name]
                        if state[maker] == 1:
                            return None
                        if state[maker] == 0:
                            stack.append(maker)
            else:
                stack.pop()
                if state[index] == 1:
                    state[index] = 2
                    order.append(index)
    return tuple(nodes[index] for index in order)


def trimmed(graph: Graph) -> Graph:
    """The graph without nodes, outputs and constants that nothing uses."""
    needed = {*graph.outputs.values(), *(state.output for state in graph.states)}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            outputs = tuple(name if name in needed else "" for name in node.outputs)
            kept.append(replace(node, outputs=outputs) if node.op in ("lstm", "gru", "rnn") else node)
            needed.update(node.inputs)
    needed |= set(graph.initial.values())
    constants = {name: array for name, array in graph.constants.items() if name in needed}
    return replace(graph, nodes=tuple(reversed(kept)), constants=constants)


def write(trace: Trace, steps: Sequence[Step]) -> tuple[Graph, set[str]] | None:
    """The graph with a layer as one node, and the names of that node's outputs.

    None where an input depends on what the layer gives at an earlier step, or a c between two steps is used.
    """
    cell, first, near, count = steps[-1].cell, steps[0], steps[-1].cell.h, len(steps)
    writer = Writer(trace)
    batch = product(trace.types[cell.h].shape[:-1])
    inputs = inputs_of(steps)
    moving = [entry for entry in inputs if entry.sequence is not None]
    backward = bool(moving) and all(entry.backward for entry in moving)
    before = (1, batch, cell.units)
    h0 = "" if first.h is None else writer.view(first.h, before, near)
    c0 = _cell_state(writer, first.cell, before, near)
    masks = mask_of(trace, steps)
    keep = "" if masks is None else _mask(writer, masks, cell.mask, count, batch, backward, near)
    y, h, c = layer(writer, steps[-1], inputs, count, batch, h0, c0, keep, backward)
    for index, step in enumerate(steps[:-1]):
        at = count - 1 - index if backward else index
        part = writer.emit("slice", [y], step.cell.h, axes=(0,), starts=(at,), stops=(at + 1,), steps=(1,))
        writer.bind(part, step.cell.h)
    writer.bind(h, cell.h)
    if cell.c:
        writer.bind(c, cell.c)
    replaced = {step.cell.h for step in steps} | {cell.c} - {""}
    graph = writer.finish(replaced)
    hidden = {step.cell.c for step in steps[:-1]} - {""}
    if graph is None or hidden.intersection(name for node in graph.nodes for name in node.outputs):
        return None
    return graph, {y, h}


def layer(
    writer: Writer,
    step: Step,
    inputs: Sequence[Inputs],
    count: Dim,
    batch: Dim,
    h0: str,
    c0: str,
    keep: str = "",
    backward: bool = False,
) -> tuple[str, str, str]:
    """Write a cell as a node over `count` steps; gives the names of y, the last h and the last c.

    Args:
        writer: takes the nodes.
        step: the cell, with its state and inputs told apart.
        inputs: what it reads over all steps, one for each of `step.x`.
        count: number of steps.
        batch: number of rows.
        h0: start state (1, batch, units); "" for zeros.
        c0: start cell state, likewise.
        keep: booleans (count, batch), the steps that are not taken; "" for none.
        backward: whether the steps run from the end of the inputs to their start.
    """
    cell, near = step.cell, step.cell.h
    x = [_input(writer, entry, count, batch, _columns(step, k), backward, near) for k, entry in enumerate(inputs)]
    operands = [x[0] if len(x) == 1 else writer.emit("concat", x, near, axis=2)]
    operands += [writer.constant(array[None], f"{near}/{role}") for role, array in _weights(step)]
    operands += [""] * (5 - len(operands)) + [h0, c0][: 2 if cell.op == "lstm" else 1]
    operands += [""] * (len(RECURRENT_INPUTS[cell.op]) - 1 - len(operands)) + [keep]
    y, h, c = (writer.fresh(f"{near}/{role}") for role in ("y", "h", "c"))
    writer.add(
        cell.op,
        operands,
        [y, h, c] if cell.op == "lstm" else [y, h],
        near,
        hidden_size=cell.units,
        direction="reverse" if backward else "forward",
        activations=tuple(name for name, _, _ in cell.functions),
        activation_alpha=tuple(alpha for _, alpha, _ in cell.functions),
        activation_beta=tuple(beta for _, _, beta in cell.functions),
        **(cell.attrs or {}),
    )
    return y, h, c


def _columns(step: Step, index: int) -> int:
    gates = (*step.cell.gates, step.cell.inner)
    return next(int(gate.terms[step.x[index]].shape[1]) for gate in gates if gate and step.x[index] in gate.terms)


def _mask(writer: Writer, masks: Inputs, mask: Mask | None, count: Dim, batch: Dim, backward: bool, near: str) -> str:
    """The masks of all steps as (count, batch), true where a row keeps its state."""
    assert mask is not None
    found = writer.reshape(_input(writer, masks, count, batch, 1, backward, near), (count, batch), near)
    return found if mask[1] else writer.emit("not", [found], near)


def _input(writer: Writer, entry: Inputs, count: Dim, batch: Dim, width: int, backward: bool, near: str) -> str:
    """One source as (T, B, width)."""
    shape = (count, batch, width)
    if count == 1 and entry.sequence is None:
        return writer.view(entry.views[0], shape, near)
    if entry.constant:
        row = writer.view(entry.views[0], (1, batch, width), near)
        return writer.emit("broadcast", [row], near, shape=shape)
    if entry.sequence is not None:
        sequence = entry.sequence
        if entry.backward != backward:
            axis = sequence.axes[0][0]
            pick = sequence.picks[axis]
            assert pick.count is not None
            pick = Pick(pick.start + (pick.count - 1) * pick.step, pick.count, -pick.step)
            sequence = replace(sequence, picks=(*sequence.picks[:axis], pick, *sequence.picks[axis + 1 :]))
        return writer.view(sequence, shape, near)
    views = entry.views[::-1] if backward else entry.views
    return writer.emit("concat", [writer.view(view, (1, batch, width), near) for view in views], near, axis=0)


def _cell_state(writer: Writer, cell: Cell, shape: Shape, near: str) -> str:
    c = cell.before_c
    if isinstance(c, View):
        return writer.view(c, shape, near)
    return "" if c is None else writer.constant(c.reshape(1, 1, cell.units), f"{near}/c0")


def _weights(step: Step) -> list[tuple[str, Array]]:
    """w (gates * units, features), r (gates * units, units) and, unless all are zero, b (2 * gates * units)."""
    cell, units = step.cell, step.cell.units
    gates = [gate for gate in cell.gates if gate is not None]
    inputs = [gate.terms for gate in gates]
    w = np.concatenate(
        [
            np.concatenate([terms.get(view, np.zeros((units, _columns(step, k)))) for terms in inputs])
            for k, view in enumerate(step.x)
        ],
        axis=1,
    )
    assert step.h is not None
    recurrent = [gate.terms.get(step.h) for gate in gates]
    biases = [_biases(gate, units) for gate in gates]
    if cell.inner is not None:
        recurrent[-1] = cell.inner.terms[step.h]
        biases[-1] = (_total(gates[-1].constants, units), _total(cell.inner.constants, units))
    r = np.concatenate([np.zeros((units, units)) if matrix is None else matrix for matrix in recurrent])
    b = np.concatenate([*(first for first, _ in biases), *(second for _, second in biases)])
    return [("w", w), ("r", r), *([("b", b)] if np.any(b) else [])]


def _biases(gate: Gate, units: int) -> tuple[Array, Array]:
    """Two rows whose sum is the bias of a gate; a sum of two is kept as it is, so that nothing is rounded."""
    if len(gate.constants) == 2:
        return gate.constants[0], gate.constants[1]
    return _total(gate.constants, units), np.zeros(units)


def _total(rows: Sequence[Array], units: int) -> Array:
    total = np.zeros(units)
    for row in rows:
        total = total + row
    return total
