"""Operators that work place by place: their operands must speak of the same moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgelstm.graph.ir import Array, Node, TensorType
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import Clock, Item, refuse
from edgelstm.passes.stream.tables import future, resolve

HIDDEN = -1e8  # a score at most this far down gets a weight of exactly 0 from softmax


def pointwise(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """As it is; operands that are known earlier wait for the latest."""
    rank = out[0].rank
    ready, clock = together(builder, node, items, rank)
    name = builder.emit(node.op, [item.name for item in ready], clock.firing, node.outputs[0], **dict(node.attrs))
    clock = replace(clock, masked=_masked(builder, node, items, clock, rank))
    return [Item(name, clock, out[0])]


def together(
    builder: StepBuilder, node: Node, items: Sequence[Item], rank: int, batch: int | None = None
) -> tuple[list[Item], Clock]:
    """Operands brought to the same moments and axes, and the clock of what they make.

    Axes are compared counted from the back, as broadcasting does, in a result of `rank` axes.

    Raises:
        StreamError: they speak of moments that cannot be brought together.
    """
    moving = [item for item in items if not item.table and not item.clock.still]
    if not moving:
        raise refuse(node, "takes a value that depends on the length of the sequence")
    moving = _at_once(builder, node, moving)
    places = {_shifted(item, rank, item.clock.axis) for item in moving} - {None}
    pasts = {_shifted(item, rank, item.clock.past) for item in moving} - {None}
    end = any(_ends(item) for item in moving)
    late = {place for place in places if place in pasts or end}
    if late:
        moving = [_with_past(builder, item, rank, late) for item in moving]
        pasts |= late
        places = {_shifted(item, rank, item.clock.axis) for item in moving} - {None}
    if len(places) > 1 or len(pasts) > 1 or (places and any(_ends(item) for item in moving)):
        raise refuse(node, "mixes readings of different times")
    clock = replace(
        moving[0].clock,
        axis=next(iter(places), None),
        past=next(iter(pasts), None),
        tail=max(item.clock.tail for item in moving),
        end=not places and any(item.clock.end for item in moving),
        masked=False,
        settled=False,
    )
    fresh = iter(moving)
    ready = [item if item.table or item.clock.still else next(fresh) for item in items]
    return [_row(builder, item, clock, rank) for item in ready], clock


def _at_once(builder: StepBuilder, node: Node, moving: Sequence[Item]) -> list[Item]:
    """Operands that are known earlier wait for the latest."""
    strides = {item.clock.stride for item in moving}
    if len(strides) > 1:
        raise refuse(node, f"mixes values that come every {' and every '.join(map(str, sorted(strides)))} readings")
    last = max(item.clock.first for item in moving)
    ready = []
    for item in moving:
        steps, rest = divmod(last - item.clock.first, item.clock.stride)
        if rest or (steps and item.clock.past is not None):
            raise refuse(node, "mixes values that are known at different readings")
        if item.clock.axis is None:  # it shows the end of the sequence, which is this reading for all of them
            ready.append(replace(item, clock=replace(item.clock, first=last)))
        else:
            ready.append(builder.delay(item, steps))
    return ready


def _with_past(builder: StepBuilder, item: Item, rank: int, late: set[int | None]) -> Item:
    return builder.remember(item) if _shifted(item, rank, item.clock.axis) in late else item


def _row(builder: StepBuilder, item: Item, clock: Clock, rank: int) -> Item:
    if not item.table:
        return item
    return resolve(builder, item, clock, rank - item.kind.rank)


def _ends(item: Item) -> bool:
    """It shows the end of the sequence alone, not all elements so far."""
    return item.clock.end and item.clock.past is None


def _shifted(item: Item, rank: int, axis: int | None) -> int | None:
    return None if axis is None else axis + rank - item.kind.rank


def _masked(builder: StepBuilder, node: Node, items: Sequence[Item], clock: Clock, rank: int) -> bool:
    """Whether softmax turns every later element of the past into 0."""
    if clock.axis is None or clock.past is None:
        return False
    if node.op == "add":
        return any(item.clock.masked or _hidden(future(builder, item, clock, rank)) for item in items)
    if node.op == "where":
        chosen = future(builder, items[0], clock, rank)
        if chosen is None:
            return False
        return (chosen.all() and _low(builder, items[1])) or (not chosen.any() and _low(builder, items[2]))
    return node.op == "identity" and items[0].clock.masked


def _hidden(scores: Array | None) -> bool:
    return scores is not None and bool((scores <= HIDDEN).all())


def _low(builder: StepBuilder, item: Item) -> bool:
    return _hidden(builder.constants.get(item.name))
