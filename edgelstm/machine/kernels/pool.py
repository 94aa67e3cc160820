"""Maximum and mean over sliding windows, and the arithmetic of windows that convolution shares."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.extremes import greater
from edgelstm.machine.simd import load_scalar, store_scalar
from edgelstm.program.lower.pool import AVG_POOL, MAX_POOL

_X, _Y, _PLANES = (MAX_POOL.column(name) for name in ("x", "y", "planes"))
_HEIGHT, _KERNEL = MAX_POOL.column("height"), MAX_POOL.column("kernel_height")
_A_X, _A_Y, _A_PLANES, _A_PADDED = (AVG_POOL.column(name) for name in ("x", "y", "planes", "padded"))
_A_HEIGHT, _A_KERNEL = AVG_POOL.column("height"), AVG_POOL.column("kernel_height")

# Offsets of the fields within `IMAGE` (from "height" on) and `WINDOW` (from "kernel_height" on), width after height.
OUT, STRIDE, DILATION, PAD = 2, 2, 4, 6


@numba.njit(error_model="numpy", forceinline=True)
def first_tap(start, dilation):
    """The first tap k with start + k * dilation >= 0."""
    return (dilation - 1 - start) // dilation if start < 0 else 0


@numba.njit(error_model="numpy", forceinline=True)
def last_tap(start, dilation, kernel, size):
    """One more than the last tap k < kernel with start + k * dilation < size."""
    return min(kernel, (size - start + dilation - 1) // dilation) if start < size else 0


@numba.njit(error_model="numpy")
def max_pool(context, row):
    """MAX_POOL: see `program/lower/pool.py`. NaN wins."""
    x, y = place(context, row, _X), place(context, row, _Y)
    height, width = field(row, _HEIGHT), field(row, _HEIGHT + 1)
    out_height, out_width = field(row, _HEIGHT + OUT), field(row, _HEIGHT + OUT + 1)
    kernel_height, kernel_width = field(row, _KERNEL), field(row, _KERNEL + 1)
    stride_height, stride_width = field(row, _KERNEL + STRIDE), field(row, _KERNEL + STRIDE + 1)
    dilation_height, dilation_width = field(row, _KERNEL + DILATION), field(row, _KERNEL + DILATION + 1)
    pad_top, pad_left = field(row, _KERNEL + PAD), field(row, _KERNEL + PAD + 1)
    for plane in range(field(row, _PLANES)):
        for i in range(out_height):
            top = i * stride_height - pad_top
            for j in range(out_width):
                left = j * stride_width - pad_left
                first, last = first_tap(left, dilation_width), last_tap(left, dilation_width, kernel_width, width)
                best = np.float32(-np.inf)
                for k in range(first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)):
                    line = (plane * height + top + k * dilation_height) * width + left
                    for m in range(first, last):
                        best = greater(best, load_scalar(x, line + m * dilation_width))
                store_scalar(y, (plane * out_height + i) * out_width + j, best)


@numba.njit(error_model="numpy")
def avg_pool(context, row):
    """AVG_POOL: see `program/lower/pool.py`. One accumulator a window, by row and column."""
    x, y = place(context, row, _A_X), place(context, row, _A_Y)
    height, width = field(row, _A_HEIGHT), field(row, _A_HEIGHT + 1)
    out_height, out_width = field(row, _A_HEIGHT + OUT), field(row, _A_HEIGHT + OUT + 1)
    kernel_height, kernel_width = field(row, _A_KERNEL), field(row, _A_KERNEL + 1)
    stride_height, stride_width = field(row, _A_KERNEL + STRIDE), field(row, _A_KERNEL + STRIDE + 1)
    dilation_height, dilation_width = field(row, _A_KERNEL + DILATION), field(row, _A_KERNEL + DILATION + 1)
    pad_top, pad_left = field(row, _A_KERNEL + PAD), field(row, _A_KERNEL + PAD + 1)
    for plane in range(field(row, _A_PLANES)):
        for i in range(out_height):
            top = i * stride_height - pad_top
            above, below = first_tap(top, dilation_height), last_tap(top, dilation_height, kernel_height, height)
            for j in range(out_width):
                left = j * stride_width - pad_left
                first, last = first_tap(left, dilation_width), last_tap(left, dilation_width, kernel_width, width)
                total = np.float32(0.0)
                for k in range(above, below):
                    line = (plane * height + top + k * dilation_height) * width + left
                    for m in range(first, last):
                        total += load_scalar(x, line + m * dilation_width)
                count = max(below - above, 0) * max(last - first, 0)
                if field(row, _A_PADDED):
                    count = kernel_height * kernel_width
                store_scalar(y, (plane * out_height + i) * out_width + j, total / np.float32(max(count, 1)))
