"""Operators that move data: they must leave the time axis whole, or take its last step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgelstm.graph.dims import TIME, Dim, Expr, product, symbol, symbols
from edgelstm.graph.ir import Node, TensorType
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import STILL, Clock, Item, refuse
from edgelstm.passes.stream.pointwise import together
from edgelstm.passes.stream.tables import time_axes


def reshape(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Time stays one axis, with as much before it as after."""
    item = items[0]
    before, after = item.kind.shape, out[0].shape
    axis = _followed(node, item.clock.axis, before, after)
    past = _followed(node, item.clock.past, before, after)
    sizes = step_sizes(builder, out[0], item.clock.on(axis, past))
    name = builder.emit("reshape", [item.name], item.clock.firing, node.outputs[0], shape=sizes)
    return [Item(name, item.clock.on(axis, past), out[0])]


def _followed(node: Node, axis: int | None, before: Sequence[Dim], after: Sequence[Dim]) -> int | None:
    if axis is None:
        return None
    front = product(before[:axis])
    for position, dim in enumerate(after):
        if dim == before[axis] and product(after[:position]) == front and (TIME in symbols(dim) or dim == 1):
            return position
    raise refuse(node, f"mixes the time axis with others ({tuple(before)} to {tuple(after)})")


def step_sizes(builder: StepBuilder, kind: TensorType, clock: Clock) -> tuple[Dim, ...]:
    """The shape of a value in a step: 1 along time, the history's capacity along the past."""
    sizes = []
    for axis, dim in enumerate(kind.shape):
        size: Dim = 1 if axis == clock.axis else builder.history if axis == clock.past else dim
        sizes.append(size)
    return tuple(sizes)


def expect(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """As it is; what is right at one length only is refused."""
    if any(TIME in symbols(dim) for dim in (*node.attrs["given"], *node.attrs["wanted"])):  # type: ignore[misc]
        raise refuse(node, "is right at one length of the sequence only")
    item = items[0]
    name = builder.emit("expect", [item.name], item.clock.firing, node.outputs[0], **dict(node.attrs))
    return [Item(name, item.clock, out[0])]


def arange(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """A constant; over time: the number of the reading."""
    builder.add(node)
    return [Item(node.outputs[0], STILL, out[0])]


def transpose(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """As it is; time moves along."""
    item, perm = items[0], _axes(node, "perm")
    axis, past = (None if a is None else perm.index(a) for a in (item.clock.axis, item.clock.past))
    name = builder.emit("transpose", [item.name], item.clock.firing, node.outputs[0], perm=perm)
    return [Item(name, item.clock.on(axis, past), out[0])]


def slice_(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Along time: from the n-th step on, without the last n, every n-th, or the last one."""
    item = items[0]
    rank = item.kind.rank
    parts: dict[int, tuple[Any, Any, Any]] = {}
    bounds: list[Any] = [node.attrs[key] for key in ("axes", "starts", "stops", "steps")]
    for axis, start, stop, step in zip(*bounds, strict=True):
        parts[axis % rank] = (start, stop, step)
    clock = item.clock
    if clock.past in parts and parts[clock.past][:2] != (0, item.kind.shape[clock.past]):
        raise refuse(node, "takes some of all time steps so far")
    parts.pop(-1 if clock.past is None else clock.past, None)
    along = parts.pop(-1 if clock.axis is None else clock.axis, None)
    if along is not None:
        item = _along_time(builder, node, item, *along)
    name = item.name
    if parts:
        starts, stops, steps = zip(*parts.values(), strict=True)
        name = builder.emit(
            "slice", [name], item.clock.firing, axes=tuple(parts), starts=starts, stops=stops, steps=steps
        )
    return [Item(name, item.clock, out[0])]


def _along_time(builder: StepBuilder, node: Node, item: Item, start: Any, stop: Any, step: Any) -> Item:
    clock = item.clock
    assert clock.axis is not None
    length = item.kind.shape[clock.axis]
    dropped = length - stop
    if start == length - 1 and dropped == 0 and step == 1:
        if clock.tail:
            raise refuse(node, f"takes the last step, but the last {clock.tail} steps wait for the end of the sequence")
        return replace(item, clock=replace(clock, axis=None, end=True))
    if clock.tail and clock.stride > 1:
        raise refuse(node, "cuts off steps of a strided value that waits for the end of the sequence")
    if isinstance(start, Expr) or isinstance(dropped, Expr) or step < 1 or (step > 1 and dropped):
        raise refuse(
            node, f"takes the time steps {start}:{stop}:{step}; a stream knows the first and the last ones only"
        )
    if dropped > clock.tail:
        item = builder.delay(item, dropped - clock.tail)
    clock = item.clock
    later = replace(
        clock,
        first=clock.first + start * clock.stride,
        stride=clock.stride * step,
        tail=max(0, clock.tail - dropped),
    )
    if step > 1 and clock.tail > dropped:
        raise refuse(node, "takes every other step of a value that waits for the end of the sequence")
    return replace(item, clock=later)


def concat(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Along other axes: side by side, the earlier waiting for the latest."""
    rank = out[0].rank
    axis = int(str(node.attrs["axis"])) % rank
    if any(axis in (item.clock.axis, item.clock.past) for item in items):
        raise refuse(node, "joins pieces along the time axis")
    ready, clock = together(builder, node, items, rank)
    names = []
    for item in ready:
        sizes = step_sizes(builder, TensorType(item.kind.dtype, item.kind.shape), clock)
        wanted = tuple(builder.types[item.name].shape[i] if i == axis else size for i, size in enumerate(sizes))
        same = wanted == builder.types[item.name].shape
        names.append(item.name if same else builder.emit("broadcast", [item.name], clock.firing, shape=wanted))
    name = builder.emit("concat", names, clock.firing, node.outputs[0], axis=axis)
    return [Item(name, clock, out[0])]


def broadcast(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Repeat along other axes; a value without time may be repeated over time."""
    item = items[0]
    shift = out[0].rank - item.kind.rank
    clock = item.clock.on(*(None if a is None else a + shift for a in (item.clock.axis, item.clock.past)))
    moving = [axis for axis, dim in enumerate(out[0].shape) if TIME in symbols(dim)]
    fresh = [axis for axis in moving if axis not in (clock.axis, clock.past)]
    if fresh and (not clock.still or len(fresh) > 1):
        raise refuse(node, "repeats a value over time")
    sizes = tuple(1 if axis in fresh else size for axis, size in enumerate(step_sizes(builder, out[0], clock)))
    name = builder.emit("broadcast", [item.name], clock.firing, node.outputs[0], shape=sizes)
    return [Item(name, clock, out[0])]


def repeated_in_time(node: Node, items: Sequence[Item]) -> list[Item]:
    """Values that were repeated over time, which any moment knows: as their partners come, or the readings.

    Raises:
        StreamError: a value was repeated over another number of steps.
    """
    return [_at_moments(node, item, items) if item.clock.still and not item.table else item for item in items]


def _at_moments(node: Node, item: Item, others: Sequence[Item]) -> Item:
    axes = time_axes(item.kind)
    if not axes:
        return item
    length = item.kind.shape[axes[0]]
    for other in others:
        clock = other.clock
        if clock.axis is not None and other.kind.shape[clock.axis] == length:
            return replace(item, clock=Clock(axes[0], *clock.firing, clock.tail))
    if length != symbol(TIME):
        raise refuse(node, f"takes a value that was repeated over {length} steps, which are not the model's")
    return replace(item, clock=Clock(axes[0]))


def pad(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Along other axes than time: as it is; zeros along time belong to the convolution behind them."""
    item, pads = items[0], node.attrs["pads"]
    for axis in (item.clock.axis, item.clock.past):
        if axis is not None and (pads[axis] or pads[axis + item.kind.rank]):  # type: ignore[index]
            raise refuse(node, "pads the time axis")
    name = builder.emit("pad", [item.name], item.clock.firing, node.outputs[0], **dict(node.attrs))
    return [Item(name, replace(item.clock, masked=False, settled=False), out[0])]


def reverse_sequence(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Refused: a stream does not run backward."""
    raise refuse(node, "reverses time")


def gather(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Rows of a table by an index that may come step by step."""
    table, indices = items
    axis = int(str(node.attrs["axis"])) % table.kind.rank
    if not table.clock.still:
        return [_from_moving(builder, node, table, indices, axis, out[0])]
    clock = indices.clock.on(*(None if a is None else a + axis for a in (indices.clock.axis, indices.clock.past)))
    name = builder.emit("gather", [table.name, indices.name], clock.firing, node.outputs[0], axis=axis)
    return [Item(name, replace(clock, masked=False, settled=False), out[0])]


def _from_moving(builder: StepBuilder, node: Node, table: Item, indices: Item, axis: int, out: TensorType) -> Item:
    """Fixed places of a value that moves in time, on another axis."""
    clock = table.clock
    if axis in (clock.axis, clock.past) or indices.clock is not STILL:
        raise refuse(node, "picks from a sequence by index")
    shift = indices.kind.rank - 1
    later = clock.on(*(None if a is None else a + shift * (a > axis) for a in (clock.axis, clock.past)))
    name = builder.emit("gather", [table.name, indices.name], clock.firing, node.outputs[0], axis=axis)
    return Item(name, replace(later, masked=False, settled=False), out)


def _axes(node: Node, key: str) -> tuple[int, ...]:
    axes: Any = node.attrs[key]
    return tuple(axes)
