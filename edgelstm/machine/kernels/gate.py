"""Which rows are due."""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.simd import load_int
from edgelstm.program.lower.gate import GATE

_TICK, _STRIDE, _FIRST, _ROWS = (GATE.column(name) for name in ("tick", "stride", "first", "rows"))


@numba.njit(error_model="numpy")
def skipped(context, row):
    """GATE: how many of the rows that follow are not run. See `program/lower/gate.py`."""
    since = load_int(place(context, row, _TICK), 0) - field(row, _FIRST)
    return 0 if since >= 0 and since % field(row, _STRIDE) == 0 else field(row, _ROWS)
