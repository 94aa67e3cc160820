"""The plain RNN on int8 weights: see `program/lower/rnn_int8.py` for the instruction."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import TURN, field, float_field, place
from edgelstm.machine.kernels.int8 import product, quantize
from edgelstm.machine.kernels.int8_rows import rows_together
from edgelstm.machine.kernels.rnn import finish
from edgelstm.machine.kernels.sequence import copy_row, keeps, own_units, row_length, zero_rows
from edgelstm.machine.simd import load, read64
from edgelstm.program.lower.int8 import INTEGER
from edgelstm.program.lower.rnn_int8 import RNN_INT8

_KEEP = RNN_INT8.column("keep")
_X, _W, _H0, _Y, _H, _R = (RNN_INT8.column(name) for name in ("x", "w", "h0", "y", "h", "r"))
_BIAS, _LENGTHS, _WORK = (RNN_INT8.column(name) for name in ("bias", "lengths", "work"))
_TIME, _BATCH, _INPUTS, _UNITS, _REVERSE = (RNN_INT8.column(name) for name in ("T", "B", "I", "H", "reverse"))
_X_TIME, _X_ROW, _Y_TIME, _Y_ROW = (RNN_INT8.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))
_H0_STRIDE, _W_MODE, _R_MODE = (RNN_INT8.column(name) for name in ("h0_stride", "w_mode", "r_mode"))
_X_SCALE, _H_BOUNDED = RNN_INT8.column("x_scale"), RNN_INT8.column("h_bounded")
_INTEGER = INTEGER
_X_ZERO = RNN_INT8.column("x_zero")
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


@numba.njit(error_model="numpy")
def rnn_int8(context, row):
    """One direction of one layer: rows of the batch outside, time inside."""
    w, r, bias = place(context, row, _W), place(context, row, _R), place(context, row, _BIAS)
    lengths = place(context, row, _LENGTHS)
    time, batch, inputs, units = field(row, _TIME), field(row, _BATCH), field(row, _INPUTS), field(row, _UNITS)
    w_mode, r_mode, x_scale = field(row, _W_MODE), field(row, _R_MODE), float_field(row, _X_SCALE)
    x_zero = field(row, _X_ZERO)
    least = _ONE if field(row, _H_BOUNDED) != 0 else _ZERO
    keep, reverse = place(context, row, _KEEP), field(row, _REVERSE)
    x_time, y_time = 4 * field(row, _X_TIME), 4 * field(row, _Y_TIME)
    vectors = (units + 15) >> 4
    first, last = own_units(context, units)
    here = place(context, row, _WORK)
    there = here + 64 * vectors
    sums = there + 64 * vectors
    x_bytes = sums + 64 * vectors
    h_bytes = x_bytes + ((inputs + 15) & -16)
    sums += 4 * first
    own = (last - first + 15) >> 4
    turn = read64(context, TURN)
    for b in range(_rnn_rows(context, row), batch):
        steps = row_length(lengths, b, time)
        x = place(context, row, _X) + 4 * b * field(row, _X_ROW)
        y = place(context, row, _Y)
        if y != 0:
            y += 4 * b * field(row, _Y_ROW)
            zero_rows(y + steps * y_time, y_time, time - steps, units)
        h_before = place(context, row, _H0)
        if h_before != 0:
            h_before += 4 * b * field(row, _H0_STRIDE)
        else:
            h_before = there
            zero_rows(there, 0, 1, (units + 15) & -16)
        x_step, y_step = x_time, y_time if y != 0 else 0
        if reverse != 0:
            x += (steps - 1) * x_step
            y += (steps - 1) * y_step
            x_step, y_step = -x_step, -y_step
        for k in range(steps):
            if keeps(keep, k, steps, reverse, batch, b):
                copy_row(h_before, y, units)
                x += x_step
                y += y_step
                continue
            scale, zero = _ZERO, 0
            if w_mode == _INTEGER:
                scale, zero = quantize(x, inputs, x_bytes, x_scale, x_zero, _ZERO)
            product(w_mode, w, own, x, x_bytes, scale, zero, inputs, bias, sums, turn)
            if r_mode == _INTEGER:
                scale, zero = quantize(h_before, units, h_bytes, _ZERO, 0, least)
            product(r_mode, r, own, h_before, h_bytes, scale, zero, units, sums, sums, turn)
            turn ^= 1
            first, last = own_units(context, units)
            _update(row, sums, here, y, units, first, last)
            h_before = here
            here, there = there, here
            x += x_step
            y += y_step
        h_out = place(context, row, _H)
        if h_out != 0:
            copy_row(h_before, h_out + 4 * b * units, units)
