"""Convolution: sixteen output channels a vector, four neighbouring positions where all their taps exist; for a
handful of channels (depthwise above all) sixteen positions a vector.

One accumulator a result: the bias, then every tap inside the image, by channel, row, column, one multiply-add each;
so which way it was computed does not show.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.pool import DILATION, OUT, PAD, STRIDE, first_tap, last_tap
from edgelstm.machine.simd import LANES, broadcast, fma, lane, load, splat, store, store_partial, store_scalar
from edgelstm.program.lower.conv import CONV

_X, _W, _B, _Y = (CONV.column(name) for name in ("x", "w", "b", "y"))
_BATCH, _GROUP, _CHANNELS, _OUTPUTS = (CONV.column(name) for name in ("batch", "group", "channels", "outputs"))
_HEIGHT, _KERNEL = CONV.column("height"), CONV.column("kernel_height")

_FEW = 4  # up to so many channels, a vector of positions wastes less than a vector of channels


@numba.njit(error_model="numpy")
def _scatter(y, stride, v, lanes):
    """The first lanes of a vector to words `stride` apart."""
    if stride == 1:
        if lanes == LANES:
            store(y, 0, v)
        else:
            store_partial(y, 0, v, lanes)
    else:
        for i in range(lanes):
            store_scalar(y, i * stride, lane(v, i))


@numba.njit(error_model="numpy")
def _position(row, x, w, start, top, left):
    """The results of one position: x and w at the group's first channel and the block's first tap."""
    channels, height, width = field(row, _CHANNELS), field(row, _HEIGHT), field(row, _HEIGHT + 1)
    kernel_height, kernel_width = field(row, _KERNEL), field(row, _KERNEL + 1)
    dilation_height, dilation_width = field(row, _KERNEL + DILATION), field(row, _KERNEL + DILATION + 1)
    k_first, k_last = first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)
    m_first, m_last = first_tap(left, dilation_width), last_tap(left, dilation_width, kernel_width, width)
    v = start
    for c in range(channels):
        for k in range(k_first, k_last):
            line = (c * height + top + k * dilation_height) * width + left
            taps = (c * kernel_height + k) * kernel_width
            for m in range(m_first, m_last):
                v = fma(broadcast(x, line + m * dilation_width), load(w, (taps + m) * LANES), v)
    return v


@numba.njit(error_model="numpy")
def _four_positions(row, x, w, start, top, left, y, step, lanes):
    """As `_position`, for this position and the three to its right, all of whose columns exist."""
    channels, height, width = field(row, _CHANNELS), field(row, _HEIGHT), field(row, _HEIGHT + 1)
    kernel_height, kernel_width = field(row, _KERNEL), field(row, _KERNEL + 1)
    stride, dilation_width = field(row, _KERNEL + STRIDE + 1), field(row, _KERNEL + DILATION + 1)
    dilation_height = field(row, _KERNEL + DILATION)
    k_first, k_last = first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)
    v0 = v1 = v2 = v3 = start
    for c in range(channels):
        for k in range(k_first, k_last):
            line = (c * height + top + k * dilation_height) * width + left
            taps = (c * kernel_height + k) * kernel_width
            for m in range(kernel_width):
                tap, at = load(w, (taps + m) * LANES), line + m * dilation_width
                v0 = fma(broadcast(x, at), tap, v0)
                v1 = fma(broadcast(x, at + stride), tap, v1)
                v2 = fma(broadcast(x, at + 2 * stride), tap, v2)
                v3 = fma(broadcast(x, at + 3 * stride), tap, v3)
    _scatter(y, step, v0, lanes)
    _scatter(y + 4, step, v1, lanes)
    _scatter(y + 8, step, v2, lanes)
    _scatter(y + 12, step, v3, lanes)


@numba.njit(error_model="numpy")
def _sixteen_positions(row, x, w, start, top, left, y, step, lanes):
    """As `_position`, for this position and the fifteen to its right, one apart, all of whose columns exist."""
    channels, height, width = field(row, _CHANNELS), field(row, _HEIGHT), field(row, _HEIGHT + 1)
    kernel_height, kernel_width = field(row, _KERNEL), field(row, _KERNEL + 1)
    dilation_height, dilation_width = field(row, _KERNEL + DILATION), field(row, _KERNEL + DILATION + 1)
    k_first, k_last = first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)
    for o in range(lanes):
        v = splat(lane(start, o))
        for c in range(channels):
            for k in range(k_first, k_last):
                line = (c * height + top + k * dilation_height) * width + left
                taps = (c * kernel_height + k) * kernel_width
                for m in range(kernel_width):
                    v = fma(load(x, line + m * dilation_width), broadcast(w, (taps + m) * LANES + o), v)
        store(y, o * step, v)


@numba.njit(error_model="numpy")
def _plane(row, x, w, start, y, lanes):
    """Every position of up to sixteen output channels."""
    out_height, out_width = field(row, _HEIGHT + OUT), field(row, _HEIGHT + OUT + 1)
    stride_height, stride_width = field(row, _KERNEL + STRIDE), field(row, _KERNEL + STRIDE + 1)
    pad_top, pad_left = field(row, _KERNEL + PAD), field(row, _KERNEL + PAD + 1)
    reach = (field(row, _KERNEL + 1) - 1) * field(row, _KERNEL + DILATION + 1)
    width, step = field(row, _HEIGHT + 1), out_height * out_width
    for i in range(out_height):
        top = i * stride_height - pad_top
        j = 0
        while j < out_width:
            left = j * stride_width - pad_left
            at = y + 4 * (i * out_width + j)
            if left < 0 or out_width - j < 4 or left + reach + 3 * stride_width >= width:
                _scatter(at, step, _position(row, x, w, start, top, left), lanes)
                j += 1
            elif lanes <= _FEW and stride_width == 1 and out_width - j >= LANES and left + reach + LANES <= width:
                _sixteen_positions(row, x, w, start, top, left, at, step, lanes)
                j += LANES
            else:
                _four_positions(row, x, w, start, top, left, at, step, lanes)
                j += 4


@numba.njit(error_model="numpy")
def conv(context, row):
    """CONV: see `program/lower/conv.py`."""
    x, w, b, y = place(context, row, _X), place(context, row, _W), place(context, row, _B), place(context, row, _Y)
    group, channels, outputs = field(row, _GROUP), field(row, _CHANNELS), field(row, _OUTPUTS)
    image = channels * field(row, _HEIGHT) * field(row, _HEIGHT + 1)
    plane = field(row, _HEIGHT + OUT) * field(row, _HEIGHT + OUT + 1)
    taps = channels * field(row, _KERNEL) * field(row, _KERNEL + 1) * LANES
    for n in range(field(row, _BATCH)):
        packed = w
        for g in range(group):
            for first in range(0, outputs, LANES):
                start = splat(0.0)
                if b != 0:
                    start = load(b, g * outputs + first)
                lanes = min(LANES, outputs - first)
                target = y + 4 * ((n * group + g) * outputs + first) * plane
                _plane(row, x + 4 * (n * group + g) * image, packed, start, target, lanes)
                packed += 4 * taps
