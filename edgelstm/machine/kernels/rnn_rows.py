"""Several rows of a plain RNN's batch at once: see `cell_rows.py`; and the activation, which rows alone share."""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, float_field
from edgelstm.machine.kernels.activation import activate
from edgelstm.machine.kernels.cell_rows import rows_together
from edgelstm.machine.kernels.sequence import store_units
from edgelstm.machine.simd import clamp, load, store
from edgelstm.machine.tile import Block
from edgelstm.machine.vecmath import tanh
from edgelstm.program.lower.rnn import RNN

_PLAIN, _CLIP = RNN.column("plain"), RNN.column("clip")
_F, _ALPHA, _BETA = (RNN.column(name) for name in ("function0", "alpha0", "beta0"))
BLOCK = Block(1, (0,), (0,))


@numba.njit(forceinline=True)
def finish(row, sums, h, y, unit, units):
    """The activation of one block; y (0: none) is written exactly."""
    if field(row, _PLAIN) != 0:
        new = tanh(sums)
    else:
        limit = float_field(row, _CLIP)
        alpha, beta = float_field(row, _ALPHA), float_field(row, _BETA)
        new = activate(field(row, _F), alpha, beta, clamp(sums, -limit, limit))
    store(h, unit, new)
    store_units(y, unit, new, units)


@numba.njit(forceinline=True)
def update(row, sums, _c_before, _c, _h_before, h, y, unit, units):
    """The new state of one row's 16 units, see `rows_together`."""
    finish(row, load(sums, 0), h, y, unit, units)


rnn_rows = rows_together(RNN, BLOCK, update, blocks=2)
