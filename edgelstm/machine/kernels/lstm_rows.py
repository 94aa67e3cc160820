"""Several rows of an LSTM's batch at once: see `cell_rows.py`. Plain cells alone."""

from __future__ import annotations

import numba

from edgelstm.machine.context import field
from edgelstm.machine.kernels.cell_rows import rows_together
from edgelstm.machine.kernels.sequence import store_units
from edgelstm.machine.simd import load, store
from edgelstm.machine.tile import Block
from edgelstm.machine.vecmath import lstm_c, lstm_h
from edgelstm.program.lower.lstm import GATES, LSTM

_PLAIN = LSTM.column("plain")
_GATES = tuple(range(GATES))
BLOCK = Block(GATES, _GATES, _GATES)


@numba.njit(forceinline=True)
def update_c(_row, sums, c_before, c, _h_before, _h, _y, unit, _units):
    """The new c of one row's 16 units, see `rows_together`."""
    store(c, unit, lstm_c(load(sums, 0), load(sums, 32), load(sums, 48), load(c_before, unit)))


@numba.njit(forceinline=True)
def update_h(_row, sums, _c_before, c, _h_before, h, y, unit, units):
    """Then its new h."""
    new_h = lstm_h(load(sums, 16), load(c, unit))
    store(h, unit, new_h)
    store_units(y, unit, new_h, units)


_together = rows_together(LSTM, BLOCK, update_c, update_h, carries_c=True)


@numba.njit(forceinline=True)
def lstm_rows(context, row):
    """As many rows of the batch as go together; answers how many."""
    return _together(context, row) if field(row, _PLAIN) != 0 else 0
