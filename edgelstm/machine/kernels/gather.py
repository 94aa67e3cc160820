"""Looking up by index. The only kernels whose work depends on data: they return a status."""

from __future__ import annotations

import numba

from edgelstm.machine.context import INDEX_ERROR, OK, field, place
from edgelstm.machine.kernels.movement import copy_words
from edgelstm.machine.simd import load_int
from edgelstm.program.lower.gather import GATHER, REVERSE

_TABLE, _INDICES, _Y = GATHER.column("table"), GATHER.column("indices"), GATHER.column("y")
_OUTER, _SIZE, _COUNT = GATHER.column("outer"), GATHER.column("size"), GATHER.column("count")
_INNER = GATHER.column("inner")

_R_X, _R_LENGTHS, _R_Y = REVERSE.column("x"), REVERSE.column("lengths"), REVERSE.column("y")
_R_TIME, _R_BATCH, _R_INNER = REVERSE.column("time"), REVERSE.column("batch"), REVERSE.column("inner")
_R_BATCH_FIRST = REVERSE.column("batch_first")


@numba.njit(error_model="numpy")
def gather(context, row):
    """GATHER: see `program/lower/gather.py`. An index outside the table stops it."""
    table, indices, y = place(context, row, _TABLE), place(context, row, _INDICES), place(context, row, _Y)
    size, count, inner = field(row, _SIZE), field(row, _COUNT), field(row, _INNER)
    for o in range(field(row, _OUTER)):
        for j in range(count):
            index = load_int(indices, j)
            if index < 0:
                index += size
            if index < 0 or index >= size:
                return INDEX_ERROR
            copy_words(y + 4 * (o * count + j) * inner, table + 4 * (o * size + index) * inner, inner)
    return OK


@numba.njit(error_model="numpy")
def reverse(context, row):
    """REVERSE: see `program/lower/gather.py`. A length below 0 or above the time stops it."""
    x, lengths, y = place(context, row, _R_X), place(context, row, _R_LENGTHS), place(context, row, _R_Y)
    time, batch, inner = field(row, _R_TIME), field(row, _R_BATCH), field(row, _R_INNER)
    step, start = batch * inner, inner  # words from one moment, and from one row of the batch, to the next
    if field(row, _R_BATCH_FIRST):
        step, start = inner, time * inner
    for b in range(batch):
        length = load_int(lengths, b)
        if length < 0 or length > time:
            return INDEX_ERROR
        for t in range(time):
            source = length - 1 - t if t < length else t
            copy_words(y + 4 * (b * start + t * step), x + 4 * (b * start + source * step), inner)
    return OK
