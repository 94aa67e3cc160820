"""Products: per step, of a step with all keys so far, and of weights with all values so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgelstm.graph.ir import Node, TensorType
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import Clock, Item, refuse
from edgelstm.passes.stream.pointwise import together


def linear(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """As it is; the features are not time."""
    item, clock = items[0], items[0].clock
    if item.kind.rank - 1 in (clock.axis, clock.past):
        raise refuse(node, "sums over all time steps")
    if any(not other.clock.still for other in items[1:]):
        raise refuse(node, "has weights that change over time")
    name = builder.emit(node.op, [value.name for value in items], clock.firing, node.outputs[0], **node.attrs)
    return [Item(name, replace(clock, masked=False, settled=False), out[0])]


def matmul(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Per step; of a step with all keys so far; of weights with all values so far."""
    a, b = items
    if min(a.kind.rank, b.kind.rank) < 2:
        raise refuse(node, "multiplies a vector by a sequence")
    if a.table or b.table:
        raise refuse(node, "multiplies a table of positions")
    summed_a, summed_b = a.kind.rank - 1, b.kind.rank - 2
    if summed_a in (a.clock.axis, a.clock.past) or summed_b in (b.clock.axis, b.clock.past):
        return [_over_time(builder, node, a, b, out[0])]
    if b.clock.axis == b.kind.rank - 1 and not a.clock.still:
        b = builder.remember(b)
    elif a.clock.axis == a.kind.rank - 2 and b.clock.end:
        a = builder.remember(a)
    return [_product(builder, node, a, b, out[0])]


def _product(builder: StepBuilder, node: Node, a: Item, b: Item, out: TensorType) -> Item:
    """Rows of a and columns of b, each on the axis of the result where it will stand."""
    row, column = out.rank - 2, out.rank - 1
    for item, skip in ((a, column), (b, row)):
        for axis in (item.clock.axis, item.clock.past):
            if axis is not None and axis + out.rank - item.kind.rank == skip:
                raise refuse(node, "mixes readings of different times")
    if (
        a.clock.past is not None
        and b.clock.past is not None
        and a.kind.rank - a.clock.past != b.kind.rank - b.clock.past
    ):
        raise refuse(node, "multiplies all time steps by all time steps")
    if a.clock.axis is not None and b.clock.past is not None and not b.clock.axis:
        return _beside_past(builder, node, a, b, out)
    (left, right), clock = together(builder, node, [a, b], out.rank)
    return _emit(builder, node, left, right, clock, out)


def _beside_past(builder: StepBuilder, node: Node, a: Item, b: Item, out: TensorType) -> Item:
    """This step's row against every element so far."""
    if a.clock.firing != b.clock.firing:
        raise refuse(node, "mixes values that are known at different readings")
    axis = None if a.clock.axis is None else a.clock.axis + out.rank - a.kind.rank
    past = None if b.clock.past is None else b.clock.past + out.rank - b.kind.rank
    clock = replace(a.clock, axis=axis, past=past, tail=max(a.clock.tail, b.clock.tail), masked=False, settled=False)
    return _emit(builder, node, a, b, clock, out)


def _over_time(builder: StepBuilder, node: Node, a: Item, b: Item, out: TensorType) -> Item:
    """A sum over the elements so far: weights of the past times values of the past."""
    a = builder.remember(a) if a.clock.axis == a.kind.rank - 1 else a
    b = builder.remember(b) if b.clock.axis == b.kind.rank - 2 else b
    if a.clock.past != a.kind.rank - 1 or b.clock.past != b.kind.rank - 2:
        raise refuse(node, "sums over all time steps")
    if a.clock.firing != b.clock.firing:
        raise refuse(node, "mixes values that are known at different readings")
    if b.clock.axis is not None or (a.clock.axis is not None and not a.clock.settled):
        raise refuse(node, "sums over later time steps, too: mask them (causal attention)")
    if not a.clock.settled:
        a = replace(a, name=builder.masked(a, 0.0))
    if not b.clock.settled:
        b = replace(b, name=builder.masked(b, 0.0))
    axis = None if a.clock.axis is None else a.clock.axis + out.rank - a.kind.rank
    clock = Clock(axis, *a.clock.firing, tail=max(a.clock.tail, b.clock.tail), end=axis is None)
    return _emit(builder, node, a, b, clock, out)


def _emit(builder: StepBuilder, node: Node, a: Item, b: Item, clock: Clock, out: TensorType) -> Item:
    name = builder.emit("matmul", [a.name, b.name], clock.firing, node.outputs[0])
    return Item(name, clock, out)
