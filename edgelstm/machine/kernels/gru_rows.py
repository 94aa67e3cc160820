"""Several rows of a GRU's batch at once, where the reset comes after the product: see `cell_rows.py`."""

from __future__ import annotations

import numba

from edgelstm.machine.context import field
from edgelstm.machine.kernels.cell_rows import rows_together
from edgelstm.machine.kernels.sequence import store_units
from edgelstm.machine.simd import load, store
from edgelstm.machine.tile import Block
from edgelstm.machine.vecmath import gru_cell
from edgelstm.program.lower.gru import BIASES, GRU

_PLAIN, _RESET_AFTER = GRU.column("plain"), GRU.column("reset_after")
BLOCK = Block(BIASES, (0, 1, 2, None), (0, 1, None, 2))  # z, r; the candidate's sum over x; that over h


@numba.njit(forceinline=True)
def update(_row, sums, _c_before, _c, h_before, h, y, unit, units):
    """The new state of one row's 16 units, see `rows_together`."""
    z, r, n, m = load(sums, 0), load(sums, 16), load(sums, 32), load(sums, 48)
    new = gru_cell(z, r, n, m, load(h_before, unit))
    store(h, unit, new)
    store_units(y, unit, new, units)


_together = rows_together(GRU, BLOCK, update)


@numba.njit(forceinline=True)
def gru_rows(context, row):
    """As many rows of the batch as go together; answers how many."""
    return _together(context, row) if field(row, _PLAIN) != 0 and field(row, _RESET_AFTER) != 0 else 0
