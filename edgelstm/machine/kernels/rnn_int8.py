"""The plain RNN on int8 weights: see `program/lower/rnn_int8.py` for the instruction."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.kernels.int8 import product, quantize
from edgelstm.machine.kernels.int8_rows import rows_together
from edgelstm.machine.kernels.rnn import finish
from edgelstm.machine.kernels.sequence import own_units
from edgelstm.machine.kernels.walk import one_by_one
from edgelstm.machine.simd import load
from edgelstm.program.lower.int8 import INTEGER
from edgelstm.program.lower.rnn_int8 import RNN_INT8

_R, _BIAS, _W_MODE, _R_MODE = (RNN_INT8.column(name) for name in ("r", "bias", "w_mode", "r_mode"))
_X_SCALE, _X_ZERO, _H_BOUNDED = (RNN_INT8.column(name) for name in ("x_scale", "x_zero", "h_bounded"))
_INTEGER = INTEGER
_ZERO, _ONE = np.float32(0), np.float32(1)


@numba.njit(error_model="numpy")
def _update(row, sums, h, y, units, first, last):
    """The new h of the units `first` to `last` from their sums in memory."""
    for unit in range(first, last, 16):
        finish(row, load(sums, unit - first), h, y, unit, units)


@numba.njit(error_model="numpy")
def _update_row(row, _of_x, sums, _c_before, _c, _h_before, h, y, units):
    _update(row, sums, h, y, units, 0, units)


_rnn_rows = rows_together(RNN_INT8, _update_row, 1, h_sums=False)


@numba.njit(inline="always")
def _step(context, row, now):
    """One step of one row. Work: the sums; x and h on 8 bits."""
    inputs, units = now.inputs, now.units
    w_mode, r_mode = field(row, _W_MODE), field(row, _R_MODE)
    w, r, bias = now.w, place(context, row, _R), place(context, row, _BIAS)
    first, last = own_units(context, units)
    vectors, sums = (last - first + 15) >> 4, now.work + 4 * first
    x_bytes = now.work + 4 * ((units + 15) & -16)
    h_bytes = x_bytes + ((inputs + 15) & -16)
    scale, zero = _ZERO, 0
    if w_mode == _INTEGER:
        scale, zero = quantize(now.x, inputs, x_bytes, float_field(row, _X_SCALE), field(row, _X_ZERO), _ZERO)
    product(w_mode, w, vectors, now.x, x_bytes, scale, zero, inputs, bias, sums, now.turn)
    if r_mode == _INTEGER:
        least = _ONE if field(row, _H_BOUNDED) != 0 else _ZERO
        scale, zero = quantize(now.h_before, units, h_bytes, _ZERO, 0, least)
    product(r_mode, r, vectors, now.h_before, h_bytes, scale, zero, units, sums, sums, now.turn)
    _update(row, sums, now.h, now.y, units, first, last)


rnn_int8 = one_by_one(RNN_INT8, _rnn_rows, _step)
