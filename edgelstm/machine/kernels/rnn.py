"""The plain RNN over a sequence: see `program/lower/rnn.py` for the instruction and the weights' layout.

Each unit is one chain: the bias, then one FMA for each k of x, then of h, in order. Four blocks of 16
units advance together.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.linear import accumulate, accumulate_four
from edgelstm.machine.kernels.rnn_rows import finish, rnn_rows
from edgelstm.machine.kernels.sequence import copy_row, keeps, own_units, row_length, zero_rows
from edgelstm.machine.simd import load
from edgelstm.program.lower.rnn import RNN

_KEEP = RNN.column("keep")
_X, _W, _H0, _Y, _H, _LENGTHS, _WORK = (RNN.column(name) for name in ("x", "w", "h0", "y", "h", "lengths", "work"))
_TIME, _BATCH, _INPUTS, _UNITS, _REVERSE = (RNN.column(name) for name in ("T", "B", "I", "H", "reverse"))
_X_TIME, _X_ROW, _Y_TIME, _Y_ROW = (RNN.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))
_H0_STRIDE = RNN.column("h0_stride")

_BLOCK = 4 * 16  # bytes of 16 lanes


@numba.njit(error_model="numpy")
def _step(row, w, x, inputs, h_before, h, y, units, first, last):
    """One step of the units `first` to `last`."""
    block = _BLOCK * (1 + inputs + units)
    of_x, of_h = _BLOCK, _BLOCK * (1 + inputs)
    w += block * (first >> 4)
    unit = first
    while unit + 48 < last:
        a, b, c, d = load(w, 0), load(w + block, 0), load(w + 2 * block, 0), load(w + 3 * block, 0)
        a, b, c, d = accumulate_four(w + of_x, block, x, inputs, a, b, c, d)
        a, b, c, d = accumulate_four(w + of_h, block, h_before, units, a, b, c, d)
        finish(row, a, h, y, unit, units)
        finish(row, b, h, y, unit + 16, units)
        finish(row, c, h, y, unit + 32, units)
        finish(row, d, h, y, unit + 48, units)
        w += 4 * block
        unit += 64
    while unit < last:
        a = accumulate(w + of_x, x, inputs, load(w, 0))
        finish(row, accumulate(w + of_h, h_before, units, a), h, y, unit, units)
        w += block
        unit += 16


@numba.njit(error_model="numpy")
def rnn(context, row):
    """One direction of one layer: rows of the batch outside, time inside. Work holds two rows of h."""
    w, lengths = place(context, row, _W), place(context, row, _LENGTHS)
    time, batch, inputs, units = field(row, _TIME), field(row, _BATCH), field(row, _INPUTS), field(row, _UNITS)
    keep, reverse = place(context, row, _KEEP), field(row, _REVERSE)
    x_time, y_time = 4 * field(row, _X_TIME), 4 * field(row, _Y_TIME)
    here = place(context, row, _WORK)
    there = here + 4 * ((units + 15) & -16)
    first, last = own_units(context, units)
    for b in range(rnn_rows(context, row), batch):
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
            _step(row, w, x, inputs, h_before, here, y, units, first, last)
            h_before = here
            here, there = there, here
            x += x_step
            y += y_step
        h_out = place(context, row, _H)
        if h_out != 0:
            copy_row(h_before, h_out + 4 * b * units, units)
