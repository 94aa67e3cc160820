"""The LSTM on int8 weights: see `program/lower/lstm_int8.py` for the instruction.

A step takes some blocks of units at a time: two products, which leave their gates in memory, then the same activations
and cell update as in float, beside which the weights of the next blocks already arrive.
"""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.dot_tile import tallest
from edgelstm.machine.kernels.int8 import group_bytes, product, quantize
from edgelstm.machine.kernels.int8_rows import products, quantize_rows, rows_together
from edgelstm.machine.kernels.lstm import activate_units
from edgelstm.machine.kernels.sequence import copy_row, own_units, store_units, zero_rows
from edgelstm.machine.kernels.walk import one_by_one
from edgelstm.machine.simd import load, store
from edgelstm.machine.vecmath import lstm_c, lstm_h
from edgelstm.program.lower.int8 import INTEGER
from edgelstm.program.lower.lstm import GATES
from edgelstm.program.lower.lstm_int8 import LSTM_INT8
from edgelstm.program.lower.recurrent import AHEAD, AHEAD_UNITS

_R, _BIAS, _PEEPHOLES, _PROJECTION, _OUTPUTS = (LSTM_INT8.column(name) for name in ("r", "bias", "p", "proj", "P"))
_KEEP, _PLAIN, _X_SCALE, _X_ZERO = (LSTM_INT8.column(name) for name in ("keep", "plain", "x_scale", "x_zero"))
_W_MODE, _R_MODE, _PROJ_MODE = (LSTM_INT8.column(name) for name in ("w_mode", "r_mode", "proj_mode"))
_H_BOUNDED, _RAW_BOUNDED = LSTM_INT8.column("h_bounded"), LSTM_INT8.column("raw_bounded")
_INTEGER = INTEGER
_ZERO, _ONE = np.float32(0), np.float32(1)
_VECTOR = 4 * 16  # bytes
_SOME = 16  # vectors of both products at a time: `turn` goes to and fro through both matrices as through one


@numba.njit(error_model="numpy")
def _update(gates, c_before, c, h, y, units, first, last):
    """Sigmoid and tanh alone: h and c of the units `first` to `last` from their gates in memory.

    y (0: none) is written exactly.
    """
    at = gates
    for unit in range(first, last, 16):
        store(c, unit, lstm_c(load(at, 0), load(at, 32), load(at, 48), load(c_before, unit)))
        at += 4 * 16 * GATES
    for unit in range(first, last, 16):
        new_h = lstm_h(load(gates, 16), load(c, unit))
        store(h, unit, new_h)
        store_units(y, unit, new_h, units)
        gates += 4 * 16 * GATES


@numba.njit(error_model="numpy")
def _update_row(_row, _of_x, gates, c_before, c, _h_before, h, y, units):
    _update(gates, c_before, c, h, y, units, 0, units)


_lstm_rows = rows_together(LSTM_INT8, _update_row, GATES, h_sums=False, carries_c=True)


@numba.njit(error_model="numpy")
def _together(context, row):
    return _lstm_rows(context, row) if field(row, _PLAIN) != 0 else 0


@numba.njit(error_model="numpy")
def _sum_ahead(context, row, now, vectors, sums, size):
    """What the gates of the own units take from the inputs of AHEAD steps, `size` bytes a step; then work."""
    mode, bias, inputs = field(row, _W_MODE), place(context, row, _BIAS), now.inputs
    x_bytes = sums + AHEAD * size
    factors = x_bytes + AHEAD * ((inputs + 15) & -16)
    x_scale, x_zero = float_field(row, _X_SCALE), field(row, _X_ZERO)
    quantize_rows(mode, now.x, now.x_step, AHEAD, inputs, x_bytes, factors, x_scale, x_zero, _ZERO)
    products(mode, now.w, vectors, AHEAD, now.x, now.x_step, x_bytes, factors, inputs, bias, 0, sums, size)


@numba.njit(error_model="numpy")
def _finish(context, row, gates, h_bytes, now):
    """The general path, from the gates in memory: activations, update, projection. Work: the h before it."""
    units, outputs = now.units, field(row, _OUTPUTS)
    projection, mode = place(context, row, _PROJECTION), field(row, _PROJ_MODE)
    h = now.work if projection != 0 else now.h
    activate_units(context, row, gates, place(context, row, _PEEPHOLES), now.c_before, h, now.c, units)
    if projection != 0:
        scale, zero, least = _ZERO, 0, _ONE if field(row, _RAW_BOUNDED) != 0 else _ZERO
        if mode == _INTEGER:
            scale, zero = quantize(h, units, h_bytes, _ZERO, 0, least)
        zero_rows(now.h, 0, 1, (outputs + 15) & -16)
        product(mode, projection, (outputs + 15) >> 4, h, h_bytes, scale, zero, units, now.h, now.h, 0)
    copy_row(now.h, now.y, outputs)


@numba.njit(inline="always")
def _step(context, row, now):
    """One step of one row. Work: h before its projection, gates, x and h on 8 bits; then that of AHEAD steps."""
    inputs, units, outputs = now.inputs, now.units, field(row, _OUTPUTS)
    w_mode, r_mode, plain = field(row, _W_MODE), field(row, _R_MODE), field(row, _PLAIN)
    w, r, bias = now.w, place(context, row, _R), place(context, row, _BIAS)
    x, h_before, turn = now.x, now.h_before, now.turn
    first, last = own_units(context, units)
    vectors, stride = GATES * ((last - first + 15) >> 4), 4 * ((units + 15) & -16)
    gates, size = now.work + stride, GATES * stride
    x_bytes = gates + size
    h_bytes = x_bytes + ((inputs + 15) & -16)
    gates += 4 * GATES * first
    scale, zero, h_scale, h_zero = _ZERO, 0, _ZERO, 0
    if r_mode == _INTEGER:
        least = _ONE if field(row, _H_BOUNDED) != 0 else _ZERO
        h_scale, h_zero = quantize(h_before, outputs, h_bytes, _ZERO, 0, least)
    of_x, k = 0, now.number % AHEAD
    ahead = plain != 0 and units >= AHEAD_UNITS and w_mode == _INTEGER and field(row, _KEEP) < 0 and tallest() > 1
    if ahead and now.number - k + AHEAD <= now.count:
        sums = h_bytes + ((units + 15) & -16)
        of_x = sums + size * k
        if k == 0:
            _sum_ahead(context, row, now, vectors, sums, size)
    elif w_mode == _INTEGER:
        scale, zero = quantize(x, inputs, x_bytes, float_field(row, _X_SCALE), field(row, _X_ZERO), _ZERO)
    turned = (vectors - 1) & -_SOME  # where a turn begins
    w_group, r_group = group_bytes(w_mode, inputs), group_bytes(r_mode, outputs)
    for n in range(0, vectors, _SOME):
        v = turned - n if turn else n
        some, at, start = min(_SOME, vectors - v), gates + _VECTOR * v, of_x + _VECTOR * v
        if of_x == 0:
            w_at, start = w + (v >> 2) * w_group, at
            product(w_mode, w_at, some, x, x_bytes, scale, zero, inputs, bias + _VECTOR * v, at, turn)
        r_at = r + (v >> 2) * r_group
        product(r_mode, r_at, some, h_before, h_bytes, h_scale, h_zero, outputs, start, at, turn)
        if plain != 0:
            unit = first + 4 * v
            _update(at, now.c_before, now.c, now.h, now.y, units, unit, unit + 4 * some)
    if plain == 0:
        _finish(context, row, gates, h_bytes, now)


lstm_int8 = one_by_one(LSTM_INT8, _together, _step)
