"""Several rows of an LSTM's batch at once: see `cell_rows.py`. Plain cells alone."""

from __future__ import annotations

import numba

from edgelstm.machine.context import field
from edgelstm.machine.kernels.cell_rows import rows_together
from edgelstm.machine.kernels.sequence import store_units
from edgelstm.machine.simd import load, store
from edgelstm.machine.tile import Block
from edgelstm.machine.vecmath import lstm_cell
from edgelstm.program.lower.lstm import GATES, LSTM

_PLAIN = LSTM.column("plain")
_GATES = tuple(range(GATES))
BLOCK = Block(GATES, _GATES, _GATES)


@numba.njit(forceinline=True)
def update(_row, sums, c_before, c, _h_before, h, y, unit, units):
    """The new state of one row's 16 units, see `rows_together`."""
    i, o, f, g = load(sums, 0), load(sums, 16), load(sums, 32), load(sums, 48)
    new_h, new_c = lstm_cell(i, o, f, g, load(c_before, unit))
    store(c, unit, new_c)
    store(h, unit, new_h)
    store_units(y, unit, new_h, units)


_together = rows_together(LSTM, BLOCK, update, carries_c=True)


@numba.njit(forceinline=True)
def lstm_rows(context, row):
    """As many rows of the batch as go together; answers how many."""
    return _together(context, row) if field(row, _PLAIN) != 0 else 0
