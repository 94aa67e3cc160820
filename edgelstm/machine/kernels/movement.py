"""The strided copy."""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.simd import LANES, broadcast, load, load_scalar, store, store_partial, store_scalar
from edgelstm.program.lower.movement import COPY

_X, _Y = COPY.column("x"), COPY.column("y")
_N, _SX, _SY = COPY.column("n0"), COPY.column("x0"), COPY.column("y0")


@numba.njit(error_model="numpy")
def copy_words(y, x, count):
    """Words of any kind, one after the other; exactly `count` are written."""
    for i in range(0, count - LANES + 1, LANES):
        store(y, i, load(x, i))
    rest = count & (LANES - 1)
    if rest:
        store_partial(y, count - rest, load(x, count - rest), rest)


@numba.njit(error_model="numpy")
def copy_line(y, stride_y, x, stride_x, count):
    """Words `stride_x` apart to words `stride_y` apart."""
    if stride_y == 1 and stride_x == 1:
        copy_words(y, x, count)
    elif stride_y == 1 and stride_x == 0:
        v = broadcast(x, 0)
        for i in range(0, count, LANES):
            if count - i >= LANES:
                store(y, i, v)
            else:
                store_partial(y, i, v, count - i)
    else:
        for i in range(count):
            store_scalar(y, i * stride_y, load_scalar(x, i * stride_x))


@numba.njit(error_model="numpy")
def copy(context, row):
    """COPY: see `program/lower/movement.py`."""
    x0, y0 = place(context, row, _X), place(context, row, _Y)
    n1, n2, n3, n4, n5 = (
        field(row, _N + 1),
        field(row, _N + 2),
        field(row, _N + 3),
        field(row, _N + 4),
        field(row, _N + 5),
    )
    stride_x, stride_y = field(row, _SX + 5), field(row, _SY + 5)
    for i0 in range(field(row, _N)):
        x1, y1 = x0 + 4 * i0 * field(row, _SX), y0 + 4 * i0 * field(row, _SY)
        for i1 in range(n1):
            x2, y2 = x1 + 4 * i1 * field(row, _SX + 1), y1 + 4 * i1 * field(row, _SY + 1)
            for i2 in range(n2):
                x3, y3 = x2 + 4 * i2 * field(row, _SX + 2), y2 + 4 * i2 * field(row, _SY + 2)
                for i3 in range(n3):
                    x4, y4 = x3 + 4 * i3 * field(row, _SX + 3), y3 + 4 * i3 * field(row, _SY + 3)
                    for i4 in range(n4):
                        x5, y5 = x4 + 4 * i4 * field(row, _SX + 4), y4 + 4 * i4 * field(row, _SY + 4)
                        copy_line(y5, stride_y, x5, stride_x, n5)
