"""Reductions, softmax and argmax: over other axes as they are; over time as running values or over the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgelstm.graph.ir import Node, TensorType
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import Clock, Item, refuse

# Operator → how a running value takes in one more, and what it starts from.
RUNNING = {
    "reduce_sum": ("add", 0.0),
    "reduce_mean": ("add", 0.0),
    "reduce_max": ("maximum", -np.inf),
    "reduce_min": ("minimum", np.inf),
    "reduce_prod": ("mul", 1.0),
}


def reduce(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Over time: a running value, or over the history of attention; over other axes: as it is."""
    item, clock = items[0], items[0].clock
    rank = item.kind.rank
    axes = sorted({int(str(axis)) % rank for axis in node.attrs["axes"]})  # type: ignore[union-attr]
    if clock.axis in axes:
        if item.kind.dtype != "float32":
            raise refuse(node, f"reduces {item.kind.dtype} values over all time steps")
        if clock.past is not None:
            raise refuse(node, "reduces over all time steps and over those so far")
        _no_tail(node, clock)
        return [_running(builder, node, _without_others(builder, node, item, axes), axes, out[0])]
    if clock.past in axes:
        return [_over_past(builder, node, item, axes, out[0])]
    keep = bool(node.attrs["keepdims"])
    later = clock.on(_after(clock.axis, axes, keep), _after(clock.past, axes, keep))
    later = replace(later, masked=False, settled=False)
    name = builder.emit(node.op, [item.name], clock.firing, node.outputs[0], **dict(node.attrs))
    return [Item(name, later, out[0])]


def _without_others(builder: StepBuilder, node: Node, item: Item, axes: Sequence[int]) -> Item:
    """The value with all axes but time reduced, and kept at size 1."""
    shape = builder.types[item.name].shape
    others = tuple(axis for axis in axes if axis != item.clock.axis and shape[axis] != 1)
    if not others:
        return item
    return replace(item, name=builder.emit(node.op, [item.name], item.clock.firing, axes=others, keepdims=1))


def _running(builder: StepBuilder, node: Node, item: Item, axes: Sequence[int], out: TensorType) -> Item:
    op, start = RUNNING[node.op]
    firing = item.clock.firing
    before = builder.state(f"{item.name}.{node.op}", builder.types[item.name], start or None)
    name = builder.emit(op, [before, item.name], firing, f"{before}/next")
    builder.carry(before, name)
    if node.op == "reduce_mean":
        count = builder.emit("cast", [builder.counter(firing)[1]], firing, to="float32")
        name = builder.emit("div", [name, count], firing)
    if not node.attrs["keepdims"]:
        shape = tuple(dim for position, dim in enumerate(builder.types[name].shape) if position not in axes)
        name = builder.emit("reshape", [name], firing, node.outputs[0], shape=shape)
    return Item(name, replace(item.clock, axis=None, end=True), out)


def _over_past(builder: StepBuilder, node: Node, item: Item, axes: list[int], out: TensorType) -> Item:
    clock = item.clock
    assert clock.past is not None
    if clock.axis is not None and not (clock.settled and node.op == "reduce_sum"):
        raise refuse(node, "reduces over later time steps, too: mask them")
    if axes != [clock.past]:
        raise refuse(node, "reduces time together with other axes")
    name = item.name if clock.axis is not None else builder.masked(item, RUNNING[node.op][1])
    op = "reduce_sum" if node.op == "reduce_mean" else node.op
    name = builder.emit(op, [name], clock.firing, axes=(clock.past,), keepdims=node.attrs["keepdims"])
    if node.op == "reduce_mean":
        count = builder.emit("cast", [builder.counter(clock.firing)[1]], clock.firing, to="float32")
        name = builder.emit("div", [name, count], clock.firing, node.outputs[0])
    keep = bool(node.attrs["keepdims"])
    return Item(name, replace(clock, axis=_after(clock.axis, axes, keep), past=None, masked=False, settled=False), out)


def softmax(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Over time: over the history, masked where attention is causal; over other axes: as it is."""
    item = items[0]
    axis = int(str(node.attrs["axis"])) % item.kind.rank
    if item.clock.axis == axis:
        _no_tail(node, item.clock)
        if item.clock.past is not None:
            raise refuse(node, "runs over all time steps")
        item = builder.remember(item)
    clock = item.clock
    if clock.past == axis:
        if clock.axis is not None and not clock.masked:
            raise refuse(node, "weighs later time steps, too: mask them (causal attention)")
        if node.op == "log_softmax" and clock.axis is None:
            raise refuse(node, "gives a logarithm for every time step so far")
        name = item.name if clock.axis is not None else builder.masked(item, -np.inf)
        name = builder.emit(node.op, [name], clock.firing, node.outputs[0], axis=axis)
        return [Item(name, replace(clock, masked=False, settled=True), out[0])]
    name = builder.emit(node.op, [item.name], clock.firing, node.outputs[0], axis=axis)
    return [Item(name, replace(clock, masked=False, settled=False), out[0])]


def argmax(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Over axes other than time: as it is."""
    item, clock = items[0], items[0].clock
    axis = int(str(node.attrs["axis"])) % item.kind.rank
    if axis in (clock.axis, clock.past):
        raise refuse(node, "runs over all time steps")
    keep = bool(node.attrs["keepdims"])
    later = clock.on(_after(clock.axis, [axis], keep), _after(clock.past, [axis], keep))
    name = builder.emit(node.op, [item.name], clock.firing, node.outputs[0], **dict(node.attrs))
    return [Item(name, replace(later, masked=False, settled=False), out[0])]


def layer_norm(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Over axes other than time: as it is."""
    item, clock = items[0], items[0].clock
    axis = int(str(node.attrs["axis"])) % item.kind.rank
    if any(time is not None and time >= axis for time in (clock.axis, clock.past)):
        raise refuse(node, "normalises over all time steps")
    name = builder.emit(node.op, [value.name for value in items], clock.firing, node.outputs[0], **dict(node.attrs))
    return [Item(name, replace(clock, masked=False, settled=False), out[0])]


def _no_tail(node: Node, clock: Clock) -> None:
    if clock.tail:
        raise refuse(node, f"needs the last {clock.tail} steps, which wait for the end of the sequence")


def _after(axis: int | None, gone: Sequence[int], keep: bool) -> int | None:
    if axis is None or (axis in gone and not keep):
        return None
    return axis if keep else axis - sum(other < axis for other in gone)
