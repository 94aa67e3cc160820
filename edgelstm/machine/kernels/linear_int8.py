"""Rows times int8 weights: see `program/lower/linear_int8.py` for the instruction."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.kernels.int8 import product, quantize
from edgelstm.machine.kernels.sequence import copy_row
from edgelstm.program.lower.int8 import INTEGER
from edgelstm.program.lower.linear_int8 import LINEAR_INT8

_X, _W, _BIAS, _Y, _WORK = (LINEAR_INT8.column(name) for name in ("x", "w", "bias", "y", "work"))
_ROWS, _INPUTS, _OUTPUTS = (LINEAR_INT8.column(name) for name in ("rows", "inputs", "outputs"))
_MODE, _X_SCALE = LINEAR_INT8.column("w_mode"), LINEAR_INT8.column("x_scale")
_INTEGER = INTEGER
_X_ZERO = LINEAR_INT8.column("x_zero")
_ZERO = np.float32(0)


@numba.njit(error_model="numpy")
def linear_int8(context, row):
    """LINEAR_INT8: see `program/lower/linear_int8.py`."""
    x, w, y, bias = (
        place(context, row, _X),
        place(context, row, _W),
        place(context, row, _Y),
        place(context, row, _BIAS),
    )
    inputs, outputs, mode, x_scale = (
        field(row, _INPUTS),
        field(row, _OUTPUTS),
        field(row, _MODE),
        float_field(row, _X_SCALE),
    )
    x_zero, vectors = field(row, _X_ZERO), (outputs + 15) >> 4
    sums = place(context, row, _WORK)
    q = sums + 64 * vectors
    for _ in range(field(row, _ROWS)):
        scale, zero = _ZERO, 0
        if mode == _INTEGER:
            scale, zero = quantize(x, inputs, q, x_scale, x_zero, _ZERO)
        product(mode, w, vectors, x, q, scale, zero, inputs, bias, sums, 0)
        copy_row(sums, y, outputs)
        x += 4 * inputs
        y += 4 * outputs
