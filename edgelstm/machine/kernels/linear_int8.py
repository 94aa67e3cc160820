"""Rows times int8 weights: see `program/lower/linear_int8.py` for the instruction."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.dot_tile import tallest
from edgelstm.machine.kernels.int8 import group_bytes, product, quantize
from edgelstm.machine.kernels.int8_rows import products, quantize_rows
from edgelstm.machine.kernels.sequence import copy_row
from edgelstm.program.lower.int8 import INTEGER
from edgelstm.program.lower.linear_int8 import LINEAR_INT8
from edgelstm.program.lower.recurrent import TOGETHER

_X, _W, _BIAS, _Y, _WORK = (LINEAR_INT8.column(name) for name in ("x", "w", "bias", "y", "work"))
_ROWS, _INPUTS, _OUTPUTS = (LINEAR_INT8.column(name) for name in ("rows", "inputs", "outputs"))
_MODE, _X_SCALE = LINEAR_INT8.column("w_mode"), LINEAR_INT8.column("x_scale")
_INTEGER, _TOGETHER = INTEGER, TOGETHER
_VECTOR = 4 * 16  # bytes
_X_ZERO = LINEAR_INT8.column("x_zero")
_ZERO = np.float32(0)


@numba.njit(error_model="numpy")
def _one(context, row, n):
    x, w, y, bias = (
        place(context, row, _X),
        place(context, row, _W),
        place(context, row, _Y),
        place(context, row, _BIAS),
    )
    inputs, outputs, mode = field(row, _INPUTS), field(row, _OUTPUTS), field(row, _MODE)
    x += 4 * n * inputs
    vectors = (outputs + 15) >> 4
    sums = place(context, row, _WORK)
    q = sums + _VECTOR * vectors
    scale, zero = _ZERO, 0
    if mode == _INTEGER:
        scale, zero = quantize(x, inputs, q, float_field(row, _X_SCALE), field(row, _X_ZERO), _ZERO)
    product(mode, w, vectors, x, q, scale, zero, inputs, bias, sums, 0)
    copy_row(sums, y + 4 * n * outputs, outputs)


@numba.njit(error_model="numpy")
def _together(context, row, first, rows):
    """Rows first .. first + rows - 1; a group of vectors of the weights stays in the nearest cache for all of them."""
    x, w, y, bias = (
        place(context, row, _X),
        place(context, row, _W),
        place(context, row, _Y),
        place(context, row, _BIAS),
    )
    inputs, outputs, mode = field(row, _INPUTS), field(row, _OUTPUTS), field(row, _MODE)
    x += 4 * first * inputs
    y += 4 * first * outputs
    sums = place(context, row, _WORK)
    q = sums + 4 * _VECTOR * rows
    factors = q + rows * ((inputs + 15) & -16)
    quantize_rows(mode, x, 4 * inputs, rows, inputs, q, factors, float_field(row, _X_SCALE), field(row, _X_ZERO), _ZERO)
    for unit in range(0, outputs, 64):
        some = min(64, outputs - unit)
        vectors = (some + 15) >> 4
        products(mode, w, vectors, rows, x, 4 * inputs, q, factors, inputs, bias, 0, sums, 4 * _VECTOR)
        for n in range(rows):
            copy_row(sums + n * 4 * _VECTOR, y + 4 * (n * outputs + unit), some)
        w += group_bytes(mode, inputs)
        bias += 4 * _VECTOR


@numba.njit(error_model="numpy")
def linear_int8(context, row):
    """LINEAR_INT8: see `program/lower/linear_int8.py`."""
    rows = field(row, _ROWS)
    together = 1 if tallest() == 1 else min(rows, _TOGETHER)
    done = 0
    while together > 1 and rows - done > 1:
        count = min(rows - done, together)
        _together(context, row, done, count)
        done += count
    while done < rows:
        _one(context, row, done)
        done += 1
