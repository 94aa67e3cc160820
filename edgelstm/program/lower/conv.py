"""Convolution in one or two dimensions, with groups.

Weights are packed group → block of 16 output channels → input channel → kernel row → kernel column → lane, so
that one word of the image meets sixteen output channels at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelstm.graph.ir import Array, Node
from edgelstm.program.lower.movement import emit_pad, emit_strided, zero
from edgelstm.program.lower.pool import IMAGE, WINDOW, check_windows, window_fields
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import ABSENT, LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    check_windows(fields)
    batch, group, outputs = sizes(fields, "batch", "group", "outputs")
    (channels,) = sizes(fields, "channels", least=0)
    height, width, out_height, out_width = (fields[name] for name in IMAGE)
    taps = channels * fields["kernel_height"] * fields["kernel_width"]
    regions = [
        region(fields["x"], batch * group * channels * height * width),
        region(fields["w"], group * blocks(outputs) * taps * LANES),
        region(fields["y"], batch * group * outputs * out_height * out_width, write=True),
    ]
    if fields["b"] != ABSENT:
        regions.append(region(fields["b"], group * outputs))
    return regions


# x (batch, group * channels, height, width), w packed, b (group * outputs) or absent,
# y (batch, group * outputs, out_height, out_width); taps in the order channel, row, column
CONV = Opcode(
    40,
    "conv",
    ("x", "w", "b", "y", "batch", "group", "channels", "outputs", *IMAGE, *WINDOW),
    _check,
    ("x", "w", "b", "y"),
)


def blocks(outputs: int) -> int:
    """Vectors that hold a group's output channels."""
    return -(-outputs // LANES)


def pack(w: Array, group: int) -> npt.NDArray[np.float32]:
    """w (outputs, channels / group, *kernel) as the kernel reads it; lanes past the last channel are 0."""
    outputs = w.shape[0] // group
    padded = np.zeros((group, blocks(outputs) * LANES, prod(w.shape[1:])), np.float32)
    padded[:, :outputs] = w.reshape(group, outputs, -1)
    packed = padded.reshape(group, blocks(outputs), LANES, -1).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(packed).reshape(-1)


def lower_conv(node: Node, to: Lowering) -> None:
    """Constant weights are packed once, others at every run."""
    attrs: Mapping[str, Any] = node.attrs
    x, w, b = node.inputs
    group = attrs["group"]
    shape, kernel, out = to.shape(x), to.shape(w), to.shape(node.outputs[0])
    outputs, channels = kernel[0] // group, kernel[1]
    known = to.constant(w)
    source, shape, node = _framed(node, to)
    operands = {"x": source, "b": to.operand(b)}
    if known is None:
        operands["w"] = _pack_at_run_time(node, to)
    else:
        operands["w"] = to.pack(("conv", w, group), lambda: pack(known, group))
    operands["y"] = to.result(node.outputs[0])
    if prod(out):
        counts = {"batch": shape[0], "group": group, "channels": channels, "outputs": outputs}
        to.emit(CONV, **operands, **counts, **window_fields(shape, out, kernel[2:], node))


def _framed(node: Node, to: Lowering) -> tuple[int, tuple[int, ...], Node]:
    """The image in a frame of zeros, so that every window is whole: its place, its sizes, the node without pads."""
    attrs: Mapping[str, Any] = node.attrs
    shape, pads = to.shape(node.inputs[0]), attrs["pads"]
    if not any(pads) or not prod(shape):
        return to.operand(node.inputs[0]), shape, node
    rank = len(pads) // 2
    front, back = (0, 0, *pads[:rank]), (0, 0, *pads[rank:])
    framed = tuple(sum(sizes) for sizes in zip(front, shape, back, strict=True))
    source = to.work(prod(framed))
    emit_pad(node, to, source, (*front, *back), "constant", zero(to))
    return source, framed, replace(node, attrs={**attrs, "pads": (0,) * len(pads)})


def _pack_at_run_time(node: Node, to: Lowering) -> int:
    """The same layout by copies: whole blocks, then the last one; its unused lanes are never shown."""
    attrs: Mapping[str, Any] = node.attrs
    group, kernel, source = attrs["group"], to.shape(node.inputs[1]), to.operand(node.inputs[1])
    outputs, taps = kernel[0] // group, prod(kernel[1:])
    packed = to.work(group * blocks(outputs) * taps * LANES)
    for first, lanes, count in ((0, LANES, outputs // LANES), (outputs // LANES, outputs % LANES, 1)):
        lengths = (group, count, taps, lanes)
        target = (blocks(outputs) * taps * LANES, taps * LANES, LANES, 1)
        walk = (outputs * taps, LANES * taps, 1, taps)
        skip = 4 * first * taps * LANES
        emit_strided(to, packed + skip, target, source + skip, walk, lengths, node.where)
    return packed


OPCODES = (CONV,)
LOWER = {"conv": lower_conv}
