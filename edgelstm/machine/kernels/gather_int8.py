"""Looking up in an int8 table: see `program/lower/gather_int8.py`."""

from __future__ import annotations

import numba

from edgelstm.machine.context import INDEX_ERROR, OK, field, place
from edgelstm.machine.dot import weights, widen0, widen1, widen2, widen3
from edgelstm.machine.kernels.sequence import store_units
from edgelstm.machine.simd import broadcast, load_int
from edgelstm.program.lower.gather_int8 import ENTRIES, GATHER_INT8
from edgelstm.program.opcodes import LANES

_TABLE, _INDICES, _Y = (GATHER_INT8.column(name) for name in ("table", "indices", "y"))
_SIZE, _COUNT, _INNER = (GATHER_INT8.column(name) for name in ("size", "count", "inner"))


@numba.njit(error_model="numpy")
def gather_int8(context, row):
    """GATHER_INT8. An index outside the table stops it."""
    table, indices, y = place(context, row, _TABLE), place(context, row, _INDICES), place(context, row, _Y)
    size, inner = field(row, _SIZE), field(row, _INNER)
    stride = 4 * (1 + (inner + ENTRIES - 1) // ENTRIES * LANES)
    for j in range(field(row, _COUNT)):
        index = load_int(indices, j)
        if index < 0:
            index += size
        if index < 0 or index >= size:
            return INDEX_ERROR
        at = table + stride * index
        scale = broadcast(at, 0)
        for first in range(0, inner, ENTRIES):
            q = weights(at + 4, first >> 2)
            store_units(y, first, widen0(q) * scale, inner)
            if first + 16 < inner:
                store_units(y, first + 16, widen1(q) * scale, inner)
            if first + 32 < inner:
                store_units(y, first + 32, widen2(q) * scale, inner)
            if first + 48 < inner:
                store_units(y, first + 48, widen3(q) * scale, inner)
        y += 4 * inner
    return OK
