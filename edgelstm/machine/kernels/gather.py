"""Looking up and putting by index. The only kernels whose work depends on data: they return a status."""

from __future__ import annotations

import numba

from edgelstm.machine.context import INDEX_ERROR, OK, field, place
from edgelstm.machine.kernels.movement import copy_words
from edgelstm.machine.simd import load_int
from edgelstm.program.lower.gather import BOUND, GATHER, PUT, REVERSE

_TABLE, _INDICES, _Y = GATHER.column("table"), GATHER.column("indices"), GATHER.column("y")
_OUTER, _SIZE, _COUNT = GATHER.column("outer"), GATHER.column("size"), GATHER.column("count")
_INNER = GATHER.column("inner")

_R_X, _R_LENGTHS, _R_Y = REVERSE.column("x"), REVERSE.column("lengths"), REVERSE.column("y")
_R_TIME, _R_BATCH, _R_INNER = REVERSE.column("time"), REVERSE.column("batch"), REVERSE.column("inner")
_R_BATCH_FIRST = REVERSE.column("batch_first")

_P_VALUE, _P_INDEX, _P_Y = PUT.column("value"), PUT.column("index"), PUT.column("y")
_P_OUTER, _P_SIZE, _P_INNER = PUT.column("outer"), PUT.column("size"), PUT.column("inner")

_B_INDICES, _B_COUNT, _B_SIZE = BOUND.column("indices"), BOUND.column("count"), BOUND.column("size")
_B_BACKWARD = BOUND.column("backward")


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


@numba.njit(error_model="numpy")
def put(context, row):
    """PUT: see `program/lower/gather.py`. An index outside the axis stops it before anything is written."""
    value, y = place(context, row, _P_VALUE), place(context, row, _P_Y)
    index, size = load_int(place(context, row, _P_INDEX), 0), field(row, _P_SIZE)
    if index < 0 or index >= size:
        return INDEX_ERROR
    inner = field(row, _P_INNER)
    for o in range(field(row, _P_OUTER)):
        copy_words(y + 4 * (o * size + index) * inner, value + 4 * o * inner, inner)
    return OK


@numba.njit(error_model="numpy")
def bound(context, row):
    """BOUND: see `program/lower/gather.py`."""
    indices, size = place(context, row, _B_INDICES), field(row, _B_SIZE)
    lowest = -size if field(row, _B_BACKWARD) else 0
    for j in range(field(row, _B_COUNT)):
        index = load_int(indices, j)
        if index < lowest or index >= size:
            return INDEX_ERROR
    return OK
