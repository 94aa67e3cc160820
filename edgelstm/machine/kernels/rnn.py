"""The plain RNN over a sequence: see `program/lower/rnn.py` for the instruction and the weights' layout.

Each unit is one chain: the bias, then one FMA for each k of x, then of h, in order. Four blocks of 16
units advance together.
"""

from __future__ import annotations

import numba

from edgelstm.machine.kernels.linear import accumulate, accumulate_four
from edgelstm.machine.kernels.rnn_rows import finish, rnn_rows
from edgelstm.machine.kernels.sequence import own_units
from edgelstm.machine.kernels.walk import one_by_one
from edgelstm.machine.simd import load
from edgelstm.program.lower.rnn import RNN

_BLOCK = 4 * 16  # bytes of 16 lanes


@numba.njit(inline="always")
def _step(context, row, now):
    """One step of the own units."""
    inputs, units, x, h_before, h, y = now.inputs, now.units, now.x, now.h_before, now.h, now.y
    first, last = own_units(context, units)
    block = _BLOCK * (1 + inputs + units)
    of_x, of_h = _BLOCK, _BLOCK * (1 + inputs)
    w, unit = now.w + block * (first >> 4), first
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


rnn = one_by_one(RNN, rnn_rows, _step)
