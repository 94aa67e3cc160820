"""Softmax and its logarithm: the maximum comes off first, sums run in index order."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine import vecmath
from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.extremes import greater, greatest
from edgelstm.machine.kernels.reduce import sum_words
from edgelstm.machine.simd import LANES, lane, load, load_scalar, splat, store, store_partial
from edgelstm.program.lower.softmax import SOFTMAX

_X, _Y, _OUTER, _COUNT = (SOFTMAX.column(name) for name in ("x", "y", "outer", "count"))
_INNER, _LOG = SOFTMAX.column("inner"), SOFTMAX.column("log")


@numba.njit(error_model="numpy", forceinline=True)
def _put(y, i, v, count):
    if count >= LANES:
        store(y, i, v)
    else:
        store_partial(y, i, v, count)


@numba.njit(error_model="numpy")
def _greatest(x, count):
    """The greatest of adjacent words; in which order they are compared does not show."""
    best, whole = -np.float32(np.inf), count & -LANES
    if whole:
        v = load(x, 0)
        for i in range(LANES, whole, LANES):
            v = greatest(v, load(x, i))
        for i in range(LANES):
            best = greater(best, lane(v, i))
    for i in range(whole, count):
        best = greater(best, load_scalar(x, i))
    return best


@numba.njit(error_model="numpy")
def _line(x, y, count, log):
    """Adjacent words: y holds the exponentials until their sum is known."""
    most = splat(_greatest(x, count))
    for i in range(0, count, LANES):
        _put(y, i, vecmath.exp(load(x, i) - most), count - i)
    total = splat(sum_words(y, count))
    if log:
        taken = vecmath.log(total)
        for i in range(0, count, LANES):
            _put(y, i, (load(x, i) - most) - taken, count - i)
    else:
        for i in range(0, count, LANES):
            _put(y, i, load(y, i) / total, count - i)


@numba.njit(error_model="numpy")
def _columns(x, y, count, inner, log):
    """Lines of words `inner` apart, sixteen side by side."""
    for i in range(0, inner, LANES):
        most, total = splat(-np.float32(np.inf)), splat(0.0)
        for r in range(count):
            v = load(x, r * inner + i)
            most = greatest(most, v)
        for r in range(count):
            v = vecmath.exp(load(x, r * inner + i) - most)
            total = total + v
            _put(y, r * inner + i, v, inner - i)
        taken = vecmath.log(total)
        for r in range(count):
            at = r * inner + i
            if log:
                _put(y, at, (load(x, at) - most) - taken, inner - i)
            else:
                _put(y, at, load(y, at) / total, inner - i)


@numba.njit(error_model="numpy")
def softmax(context, row):
    """SOFTMAX: see `program/lower/softmax.py`."""
    x, y = place(context, row, _X), place(context, row, _Y)
    count, inner, log = field(row, _COUNT), field(row, _INNER), field(row, _LOG)
    for o in range(field(row, _OUTER)):
        at = 4 * o * count * inner
        if inner == 1:
            _line(x + at, y + at, count, log)
        else:
            _columns(x + at, y + at, count, inner, log)
