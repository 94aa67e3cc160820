"""The LSTM on int8 weights: see `program/lower/lstm_int8.py` for the instruction.

A step takes some blocks of units at a time: two products, which leave their gates in memory, then the same activations
and cell update as in float, beside which the weights of the next blocks already arrive.
"""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import TURN, field, float_field, place
from edgelstm.machine.dot_tile import tallest
from edgelstm.machine.kernels.int8 import group_bytes, product, quantize
from edgelstm.machine.kernels.int8_rows import products, quantize_rows, rows_together
from edgelstm.machine.kernels.lstm import activate_units
from edgelstm.machine.kernels.sequence import copy_row, keeps, own_units, row_length, store_units, zero_rows
from edgelstm.machine.simd import load, read64, store
from edgelstm.machine.vecmath import lstm_cell
from edgelstm.program.lower.int8 import INTEGER
from edgelstm.program.lower.lstm import GATES
from edgelstm.program.lower.lstm_int8 import LSTM_INT8
from edgelstm.program.lower.recurrent import AHEAD, AHEAD_UNITS

_KEEP = LSTM_INT8.column("keep")
_X, _W, _H0, _C0, _Y, _H, _C = (LSTM_INT8.column(name) for name in ("x", "w", "h0", "c0", "y", "h", "c"))
_PEEPHOLES, _PROJECTION, _WORK, _R = (LSTM_INT8.column(name) for name in ("p", "proj", "work", "r"))
_BIAS, _LENGTHS = LSTM_INT8.column("bias"), LSTM_INT8.column("lengths")
_TIME, _BATCH, _INPUTS = (LSTM_INT8.column(name) for name in ("T", "B", "I"))
_UNITS, _OUTPUTS, _REVERSE = (LSTM_INT8.column(name) for name in ("H", "P", "reverse"))
_X_TIME, _X_ROW, _Y_TIME, _Y_ROW = (LSTM_INT8.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))
_H0_STRIDE, _C0_STRIDE, _PLAIN = (LSTM_INT8.column(name) for name in ("h0_stride", "c0_stride", "plain"))
_W_MODE, _R_MODE, _PROJ_MODE = (LSTM_INT8.column(name) for name in ("w_mode", "r_mode", "proj_mode"))
_X_SCALE, _H_BOUNDED, _RAW_BOUNDED = (LSTM_INT8.column(name) for name in ("x_scale", "h_bounded", "raw_bounded"))
_INTEGER = INTEGER
_X_ZERO = LSTM_INT8.column("x_zero")
_ZERO, _ONE = np.float32(0), np.float32(1)
_VECTOR = 4 * 16  # bytes
_SOME = 16  # vectors of both products at a time: `turn` goes to and fro through both matrices as through one


@numba.njit(error_model="numpy")
def _update(gates, c_before, c, h, y, units, first, last):
    """Sigmoid and tanh alone: h and c of the units `first` to `last` from their gates in memory.

    y (0: none) is written exactly.
    """
    for unit in range(first, last, 16):
        i, o, f, g = load(gates, 0), load(gates, 16), load(gates, 32), load(gates, 48)
        new_h, new_c = lstm_cell(i, o, f, g, load(c_before, unit))
        store(c, unit, new_c)
        store(h, unit, new_h)
        store_units(y, unit, new_h, units)
        gates += 4 * 16 * GATES


@numba.njit(error_model="numpy")
def _update_row(_row, _of_x, gates, c_before, c, _h_before, h, y, units):
    _update(gates, c_before, c, h, y, units, 0, units)


_lstm_rows = rows_together(LSTM_INT8, _update_row, GATES, h_sums=False, carries_c=True)


@numba.njit(error_model="numpy")
def _sum_ahead(row, w, bias, x, x_step, vectors, sums, size):
    """What the gates of the own units take from the inputs of AHEAD steps, `size` bytes a step; then work."""
    mode, inputs = field(row, _W_MODE), field(row, _INPUTS)
    x_bytes = sums + AHEAD * size
    factors = x_bytes + AHEAD * ((inputs + 15) & -16)
    x_scale, x_zero = float_field(row, _X_SCALE), field(row, _X_ZERO)
    quantize_rows(mode, x, x_step, AHEAD, inputs, x_bytes, factors, x_scale, x_zero, _ZERO)
    products(mode, w, vectors, AHEAD, x, x_step, x_bytes, factors, inputs, bias, 0, sums, size)


@numba.njit(error_model="numpy")
def lstm_int8(context, row):
    """One direction of one layer: rows of the batch outside, time inside."""
    w, r, bias = place(context, row, _W), place(context, row, _R), place(context, row, _BIAS)
    lengths, peepholes = place(context, row, _LENGTHS), place(context, row, _PEEPHOLES)
    projection, plain = place(context, row, _PROJECTION), field(row, _PLAIN)
    time, batch, inputs = field(row, _TIME), field(row, _BATCH), field(row, _INPUTS)
    units, outputs = field(row, _UNITS), field(row, _OUTPUTS)
    w_mode, r_mode, proj_mode = field(row, _W_MODE), field(row, _R_MODE), field(row, _PROJ_MODE)
    x_scale = float_field(row, _X_SCALE)
    x_zero = field(row, _X_ZERO)
    h_least = _ONE if field(row, _H_BOUNDED) != 0 else _ZERO
    raw_least = _ONE if field(row, _RAW_BOUNDED) != 0 else _ZERO
    keep, reverse = place(context, row, _KEEP), field(row, _REVERSE)
    x_time, y_time = 4 * field(row, _X_TIME), 4 * field(row, _Y_TIME)
    first, last = own_units(context, units)
    vectors = GATES * ((last - first + 15) >> 4)
    here = place(context, row, _WORK)
    there = here + 4 * ((outputs + 15) & -16)
    c = there + 4 * ((outputs + 15) & -16)
    whole = c + 4 * ((units + 15) & -16)
    gates = whole + 4 * ((units + 15) & -16)
    x_bytes = gates + 4 * GATES * ((units + 15) & -16)
    h_bytes = x_bytes + ((inputs + 15) & -16)
    ahead = plain != 0 and time >= AHEAD and units >= AHEAD_UNITS and w_mode == _INTEGER and tallest() > 1
    ahead = ahead and field(row, _KEEP) < 0
    sums, size = h_bytes + ((units + 15) & -16), 4 * GATES * ((units + 15) & -16)
    gates += 4 * GATES * first
    turned = (vectors - 1) & -_SOME  # where a turn begins
    w_group, r_group = group_bytes(w_mode, inputs), group_bytes(r_mode, outputs)
    turn = read64(context, TURN)
    done = _lstm_rows(context, row) if plain != 0 else 0
    for b in range(done, batch):
        steps = row_length(lengths, b, time)
        x = place(context, row, _X) + 4 * b * field(row, _X_ROW)
        y = place(context, row, _Y)
        if y != 0:
            y += 4 * b * field(row, _Y_ROW)
            zero_rows(y + steps * y_time, y_time, time - steps, outputs)
        h_before = place(context, row, _H0)
        if h_before != 0:
            h_before += 4 * b * field(row, _H0_STRIDE)
        else:
            h_before = there
            zero_rows(there, 0, 1, (outputs + 15) & -16)
        c_before = place(context, row, _C0)
        if c_before != 0:
            c_before += 4 * b * field(row, _C0_STRIDE)
        else:
            c_before = c
            zero_rows(c, 0, 1, (units + 15) & -16)
        x_step, y_step = x_time, y_time if y != 0 else 0
        if reverse != 0:
            x += (steps - 1) * x_step
            y += (steps - 1) * y_step
            x_step, y_step = -x_step, -y_step
        for k in range(steps):
            if keeps(keep, k, steps, reverse, batch, b):
                copy_row(h_before, y, outputs)
                x += x_step
                y += y_step
                continue
            scale, zero, h_scale, h_zero = _ZERO, 0, _ZERO, 0
            if r_mode == _INTEGER:
                h_scale, h_zero = quantize(h_before, outputs, h_bytes, _ZERO, 0, h_least)
            of_x = 0
            if ahead and k + AHEAD - k % AHEAD <= steps:
                if k % AHEAD == 0:
                    _sum_ahead(row, w, bias, x, x_step, vectors, sums, size)
                of_x = sums + size * (k % AHEAD)
            elif w_mode == _INTEGER:
                scale, zero = quantize(x, inputs, x_bytes, x_scale, x_zero, _ZERO)
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
                    _update(at, c_before, c, here, y, units, unit, unit + 4 * some)
            turn ^= 1
            if plain == 0:
                raw = whole if projection != 0 else here
                activate_units(context, row, gates, peepholes, c_before, raw, c, units)
                if projection != 0:
                    if proj_mode == _INTEGER:
                        scale, zero = quantize(raw, units, h_bytes, _ZERO, 0, raw_least)
                    zero_rows(here, 0, 1, (outputs + 15) & -16)
                    product(proj_mode, projection, (outputs + 15) >> 4, raw, h_bytes, scale, zero, units, here, here, 0)
                copy_row(here, y, outputs)
            h_before, c_before = here, c
            here, there = there, here
            x += x_step
            y += y_step
        h_out, c_out = place(context, row, _H), place(context, row, _C)
        if h_out != 0:
            copy_row(h_before, h_out + 4 * b * outputs, outputs)
        if c_out != 0:
            copy_row(c_before, c_out + 4 * b * units, units)
