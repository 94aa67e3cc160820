"""Convolution and pooling along time: a ring of the last elements, and one result where one is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm.graph.ir import Node, TensorType
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import Clock, Item, refuse

FILL = {"max_pool": -np.inf}


def sliding(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Along time: a ring of the last inputs; what needs later ones waits, with a lookahead."""
    item, clock = items[0], items[0].clock
    if any(not other.clock.still for other in items[1:]):
        raise refuse(node, "has weights that change over time")
    if clock.past is not None:
        raise refuse(node, "slides over all time steps")
    if clock.axis is None or clock.axis == 0:
        return [_emit(builder, node, items, clock, dict(node.attrs), out[0])]
    if clock.axis == 1:
        raise refuse(node, "mixes all time steps as channels")
    attrs: dict[str, Any] = dict(node.attrs)
    axis, rank = clock.axis - 2, item.kind.rank - 2
    kernel = attrs["kernel"][axis] if "kernel" in attrs else int(str(items[1].kind.shape[clock.axis]))
    size = (kernel - 1) * attrs["dilations"][axis] + 1
    front, back, stride = attrs["pads"][axis], attrs["pads"][axis + rank], attrs["strides"][axis]
    _check(builder, node, clock, size, front, back, stride)
    window = builder.window(item, clock.axis, size, FILL.get(node.op, 0.0))
    attrs["pads"] = _set(_set(attrs["pads"], axis, 0), axis + rank, 0)
    attrs["strides"] = _set(attrs["strides"], axis, 1)
    later = replace(
        clock,
        first=clock.first + (size - 1 - front) * clock.stride,
        stride=clock.stride * stride,
        tail=-(-(clock.tail + back) // stride),
    )
    return [_emit(builder, node, [replace(item, name=window), *items[1:]], later, attrs, out[0])]


def _check(builder: StepBuilder, node: Node, clock: Clock, size: int, front: int, back: int, stride: int) -> None:
    if front > size - 1:
        raise refuse(node, f"pads {front} steps before the first, more than its window of {size} reaches back")
    if stride > 1 and clock.tail + back and not builder.lookahead:
        raise refuse(node, f"strides over {stride} steps where the last ones wait for the end of the sequence")
    if node.op == "avg_pool" and (front or back) and not node.attrs.get("count_include_pad", 0):
        raise refuse(node, "averages fewer steps at the edges of the sequence")


def _emit(
    builder: StepBuilder, node: Node, items: Sequence[Item], clock: Clock, attrs: dict[str, Any], kind: TensorType
) -> Item:
    name = builder.emit(node.op, [item.name for item in items], clock.firing, node.outputs[0], **attrs)
    return Item(name, clock, kind)


def _set(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])
