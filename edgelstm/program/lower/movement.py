"""Moving words about: one strided copy serves transpose, slice, concat, broadcast and pad.

What stays compact in memory is not moved at all: the result shares its source's buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.errors import UnsupportedError
from edgelstm.graph.ir import Node
from edgelstm.program.lower.strides import (
    axis_fields,
    axis_names,
    broadcast_strides,
    collapse,
    compact,
    is_compact,
    read_axes,
    sizes,
    walked,
    walked_once,
)
from edgelstm.program.opcodes import ABSENT, Fields, Opcode, Region, float_bits

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check_copy(fields: Fields) -> list[Region]:
    lengths = sizes(fields, *axis_names("n"))
    source, target = read_axes(fields, "x"), read_axes(fields, "y")
    return [walked(fields["x"], lengths, source), walked_once(fields["y"], lengths, target)]


COPY = Opcode(20, "copy", ("x", "y", *axis_names("n"), *axis_names("x"), *axis_names("y")), _check_copy, ("x", "y"))


def emit_copy(to: Lowering, y: int, x: int, words: int) -> None:
    """y[i] = x[i]; the two stretches must not overlap."""
    emit_strided(to, y, (1,), x, (1,), (words,))


def emit_strided(
    to: Lowering,
    y: int,
    target: Sequence[int],
    x: int,
    source: Sequence[int],
    lengths: Sequence[int],
    where: str = "copy",
) -> None:
    """Words of y walked with the strides `target` = words of x walked with `source`; they must not overlap."""
    if not prod(lengths):
        return
    merged, walk_x, walk_y = collapse(lengths, source, target, where=where)
    axes = axis_fields("n", merged, 1) | axis_fields("x", walk_x, 0) | axis_fields("y", walk_y, 0)
    to.emit(COPY, x=x, y=y, **axes)


def view(node: Node, to: Lowering, lengths: Sequence[int], strides: Sequence[int], start: int = 0) -> None:
    """The node's result is a walk over its first input, `start` words in: shared when compact."""
    x, y = node.inputs[0], node.outputs[0]
    if is_compact(lengths, strides):
        to.alias(y, x, start if prod(lengths) else 0)
    else:
        source = to.operand(x) + 4 * start
        emit_strided(to, to.result(y), compact(lengths), source, strides, lengths, node.where)


def lower_reshape(node: Node, to: Lowering) -> None:
    """The same words under another shape."""
    to.alias(node.outputs[0], node.inputs[0])


def lower_transpose(node: Node, to: Lowering) -> None:
    """Axis i of the result is axis perm[i] of x."""
    attrs: Mapping[str, Any] = node.attrs
    shape = to.shape(node.inputs[0])
    strides = compact(shape)
    perm = [axis % len(shape) for axis in attrs["perm"]]
    view(node, to, [shape[axis] for axis in perm], [strides[axis] for axis in perm])


def lower_slice(node: Node, to: Lowering) -> None:
    """start:stop:step along some axes, the bounds already within the axis."""
    attrs: Mapping[str, Any] = node.attrs
    shape = to.shape(node.inputs[0])
    strides, start = list(compact(shape)), 0
    for axis, first, step in zip(attrs["axes"], attrs["starts"], attrs["steps"], strict=True):
        start += int(first) * strides[axis]
        strides[axis] *= int(step)
    view(node, to, to.shape(node.outputs[0]), strides, start)


def lower_broadcast(node: Node, to: Lowering) -> None:
    """Repeat along axes of size 1 and new ones in front."""
    target = to.shape(node.outputs[0])
    view(node, to, target, broadcast_strides(to.shape(node.inputs[0]), target))


def lower_arange(node: Node, to: Lowering) -> None:
    """A constant, once the size is known."""
    (size,) = to.shape(node.outputs[0])
    numbers = to.pack(("arange", size), lambda: np.arange(size, dtype=np.int32).view(np.float32))
    to.fixed(node.outputs[0], numbers)


def lower_concat(node: Node, to: Lowering) -> None:
    """One copy an input."""
    attrs: Mapping[str, Any] = node.attrs
    y = node.outputs[0]
    target = compact(to.shape(y))
    axis = attrs["axis"] % len(target)
    result, start = to.result(y), 0
    for value in node.inputs:
        shape = to.shape(value)
        emit_strided(to, result + 4 * start, target, to.operand(value), compact(shape), shape, node.where)
        start += shape[axis] * target[axis]


def lower_pad(node: Node, to: Lowering) -> None:
    """Every mode writes each word of the result once."""
    attrs: Mapping[str, Any] = node.attrs
    x, pads = node.inputs[0], attrs["pads"]
    word = _fill(to, attrs["value"], to.dtype(x)) if attrs["mode"] == "constant" else ABSENT
    emit_pad(node, to, to.result(node.outputs[0]), pads, attrs["mode"], word)


def zero(to: Lowering) -> int:
    """A word that holds 0."""
    return _fill(to, 0.0, "float32")


def emit_pad(node: Node, to: Lowering, result: int, pads: Sequence[int], mode: str, word: int) -> None:
    """The node's first input with a border: the interior first, then axis by axis, each from what already stands."""
    x = node.inputs[0]
    shape, source = to.shape(x), to.operand(x)
    front, back = pads[: len(shape)], pads[len(shape) :]
    padded = [before + size + after for before, size, after in zip(front, shape, back, strict=True)]
    strides = compact(padded)
    box = result + 4 * sum(pad * stride for pad, stride in zip(front, strides, strict=True))
    emit_strided(to, box, strides, source, compact(shape), shape, node.where)
    done = list(shape)  # the box that stands: axes padded so far at their new size
    for axis, size in enumerate(shape):
        stride = strides[axis]
        last = box + 4 * (size - 1) * stride
        for count, edge, step in ((front[axis], box, -stride), (back[axis], last, stride)):
            if not count:
                continue
            _room(node, mode, size, count, axis)
            border = [*done[:axis], count, *done[axis + 1 :]]
            target = [*strides[:axis], step, *strides[axis + 1 :]]
            if mode == "constant":
                first, walk = word, [0] * len(border)
            elif mode == "edge":
                first, walk = edge, [*strides[:axis], 0, *strides[axis + 1 :]]
            else:
                first, walk = edge - 4 * step, [*strides[:axis], -step, *strides[axis + 1 :]]
            emit_strided(to, edge + 4 * step, target, first, walk, border, node.where)
        box -= 4 * front[axis] * stride
        done[axis] = padded[axis]


def _room(node: Node, mode: str, size: int, count: int, axis: int) -> None:
    """Reflection and repetition need something to repeat."""
    if (mode == "reflect" and count >= size) or (mode == "edge" and not size):
        raise UnsupportedError(
            f"{node.where}: {mode} padding of {count} along axis {axis}, which has {size}:"
            f" expected at most {max(size - 1, 0)}; pad less or feed a longer sequence"
        )


def _fill(to: Lowering, value: float, dtype: str) -> int:
    """A word that holds a padding value."""
    bits = float_bits(value) if dtype == "float32" else int(value)
    return to.pack(("fill", bits), lambda: np.array([bits], np.int32).view(np.float32))


OPCODES = (COPY,)
LOWER = {
    "reshape": lower_reshape,
    "expect": lower_reshape,  # its sizes have been checked with the shapes
    "transpose": lower_transpose,
    "slice": lower_slice,
    "arange": lower_arange,
    "broadcast": lower_broadcast,
    "concat": lower_concat,
    "pad": lower_pad,
}
