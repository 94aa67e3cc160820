"""The convolution whose weights are stored as int8: one product for each tap of the kernel, over the input channels.

The channels of one position of the image are one row of activations with a scale of its own, so that a window may
slide over positions (a stream and a whole sequence give the same bits). Weights are packed tap after tap, each as in
`int8.py`.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.graph.stored import channel_scales
from edgelstm.program.lower.conv import lower_conv
from edgelstm.program.lower.int8 import (
    INTEGER,
    WIDENED,
    arrange,
    check_matrix,
    check_scale,
    gate_rows,
    matrix_words,
    pack_integers,
    row_words,
    x_fields,
)
from edgelstm.program.lower.pool import IMAGE, WINDOW, check_windows, window_fields
from edgelstm.program.lower.recurrent import Floats, constant, padded
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.graph.ir import Array
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    check_windows(fields)
    check_scale(fields)
    batch, outputs, channels = sizes(fields, "batch", "outputs", "channels")
    height, width, out_height, out_width = (fields[name] for name in IMAGE)
    taps, blocks = fields["kernel_height"] * fields["kernel_width"], padded(outputs) // LANES
    check_matrix(fields, "w", "w_mode", blocks, channels)
    return [
        region(fields["x"], batch * channels * height * width),
        region(fields["w"], taps * matrix_words(fields["w_mode"], blocks, channels)),
        region(fields["bias"], padded(outputs)),
        region(fields["y"], batch * outputs * out_height * out_width, write=True),
        region(fields["work"], work_words(channels, outputs, height * width), write=True),
    ]


CONV_INT8 = Opcode(
    54,
    "conv_int8",
    ("x", "w", "bias", "y", "work", "batch", "channels", "outputs", *IMAGE, *WINDOW, "w_mode", "x_scale", "x_zero"),
    _check,
    ("x", "w", "bias", "y", "work"),
)


def work_words(channels: int, outputs: int, positions: int) -> int:
    """The sums of a position; for each position its channels, the same on 8 bits, their scale and zero point."""
    return padded(outputs) + positions * (padded(channels) + row_words(channels)) + 2 * padded(positions)


def pack(w: Array, scales: Floats) -> Floats:
    """w (outputs, channels, *kernel) int8, scales (outputs,) -> (taps, packed matrix)."""
    order = gate_rows(1, len(w))
    factors = arrange(scales, order, 1.0)
    taps = np.moveaxis(w.reshape(*w.shape[:2], -1), 2, 0)
    return np.concatenate([pack_integers(arrange(tap, order), factors) for tap in taps])


def lower_conv_int8(node: Node, to: Lowering) -> None:
    """One scale an output channel and one group; any other weights are widened as a whole."""
    attrs: Any = node.attrs
    x, w_name, b_name = node.inputs
    stored = to.integers(w_name)
    scales = None if stored is None else channel_scales(*stored, 1)
    if stored is None or scales is None or attrs["group"] != 1:
        lower_conv(node, to)
        return
    w, b = stored[0], constant(node, to, b_name, "b")
    shape, out = to.shape(x), to.shape(node.outputs[0])
    outputs, channels = w.shape[:2]
    bias = np.zeros(outputs, np.float32) if b is None else b
    y = to.result(node.outputs[0])
    if not prod(out):
        return
    to.emit(
        CONV_INT8,
        x=to.operand(x),
        w=to.pack(("conv int8", w_name), lambda: pack(w, scales)),
        bias=to.pack(("int8 bias", b_name, "conv", outputs), lambda: arrange(bias, gate_rows(1, outputs))),
        y=y,
        work=to.work(work_words(channels, outputs, prod(shape[2:]))),
        batch=shape[0],
        channels=channels,
        outputs=outputs,
        w_mode=INTEGER if "x" in attrs["int8"] else WIDENED,
        **x_fields(node),
        **window_fields(shape, out, w.shape[2:], node),
    )


OPCODES = (CONV_INT8,)
INT8 = {"conv": ((1,), lower_conv_int8)}
