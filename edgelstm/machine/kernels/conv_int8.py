"""Convolution on int8 weights: see `program/lower/conv_int8.py` for the instruction."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.kernels.int8 import product, quantize
from edgelstm.machine.kernels.pool import DILATION, OUT, PAD, STRIDE, first_tap, last_tap
from edgelstm.machine.kernels.sequence import copy_row
from edgelstm.machine.simd import load_int, load_scalar, store_int, store_scalar
from edgelstm.program.lower.conv_int8 import CONV_INT8
from edgelstm.program.lower.int8 import FLOAT, INTEGER

_X, _W, _BIAS, _Y, _WORK = (CONV_INT8.column(name) for name in ("x", "w", "bias", "y", "work"))
_BATCH, _CHANNELS, _OUTPUTS = (CONV_INT8.column(name) for name in ("batch", "channels", "outputs"))
_HEIGHT, _KERNEL = CONV_INT8.column("height"), CONV_INT8.column("kernel_height")
_MODE, _X_SCALE, _X_ZERO = (CONV_INT8.column(name) for name in ("w_mode", "x_scale", "x_zero"))
_INTEGER, _FLOAT = INTEGER, FLOAT
_ZERO = np.float32(0)


@numba.njit(error_model="numpy")
def _prepare(x, channels, positions, mode, fixed, fixed_zero, rows, row, q, q_row, scales, zeros):
    """The channels of every position as a row, and on 8 bits."""
    for at in range(positions):
        for c in range(channels):
            store_scalar(rows, c, load_scalar(x, c * positions + at))
        if mode == _INTEGER:
            scale, zero = quantize(rows, channels, q, fixed, fixed_zero, _ZERO)
            store_scalar(scales, at, scale)
            store_int(zeros, at, zero)
        rows += row
        q += q_row


@numba.njit(error_model="numpy")
def conv_int8(context, row):
    """CONV_INT8: see `program/lower/conv_int8.py`. Taps outside the image are skipped."""
    x, w, y, bias = (
        place(context, row, _X),
        place(context, row, _W),
        place(context, row, _Y),
        place(context, row, _BIAS),
    )
    channels, outputs, mode = field(row, _CHANNELS), field(row, _OUTPUTS), field(row, _MODE)
    height, width = field(row, _HEIGHT), field(row, _HEIGHT + 1)
    out_height, out_width = field(row, _HEIGHT + OUT), field(row, _HEIGHT + OUT + 1)
    kernel_height, kernel_width = field(row, _KERNEL), field(row, _KERNEL + 1)
    stride_height, stride_width = field(row, _KERNEL + STRIDE), field(row, _KERNEL + STRIDE + 1)
    dilation_height, dilation_width = field(row, _KERNEL + DILATION), field(row, _KERNEL + DILATION + 1)
    pad_top, pad_left = field(row, _KERNEL + PAD), field(row, _KERNEL + PAD + 1)
    vectors, positions, out = (outputs + 15) >> 4, height * width, out_height * out_width
    tap = 64 * vectors * (channels if mode == _FLOAT else 2 + ((channels + 3) >> 2))
    float_row, byte_row = 4 * ((channels + 15) & -16), (channels + 15) & -16
    sums = place(context, row, _WORK)
    rows = sums + 64 * vectors
    bytes_ = rows + positions * float_row
    scales = bytes_ + positions * byte_row
    zeros = scales + 4 * positions
    for _ in range(field(row, _BATCH)):
        _prepare(
            x,
            channels,
            positions,
            mode,
            float_field(row, _X_SCALE),
            field(row, _X_ZERO),
            rows,
            float_row,
            bytes_,
            byte_row,
            scales,
            zeros,
        )
        for i in range(out_height):
            top = i * stride_height - pad_top
            k_first, k_last = first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)
            for j in range(out_width):
                left = j * stride_width - pad_left
                m_first = first_tap(left, dilation_width)
                m_last = last_tap(left, dilation_width, kernel_width, width)
                copy_row(bias, sums, 16 * vectors)
                for k in range(k_first, k_last):
                    for m in range(m_first, m_last):
                        at = (top + k * dilation_height) * width + left + m * dilation_width
                        scale, zero = load_scalar(scales, at), load_int(zeros, at)
                        v, q = rows + at * float_row, bytes_ + at * byte_row
                        matrix = w + tap * (k * kernel_width + m)
                        product(mode, matrix, vectors, v, q, scale, zero, channels, sums, sums, 0)
                for o in range(outputs):
                    store_scalar(y, o * out + i * out_width + j, load_scalar(sums, o))
        x += 4 * channels * positions
        y += 4 * outputs * out
