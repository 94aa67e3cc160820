"""Reductions and argmax.

Every result has one accumulator that takes its values in index order, so it is the same bits whatever
else is reduced beside it and however the tensor is cut.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.extremes import greater, greatest, least, lesser
from edgelstm.machine.simd import (
    LANES,
    load,
    load_int,
    load_scalar,
    splat,
    store,
    store_int,
    store_partial,
    store_scalar,
)
from edgelstm.program.functions import INTEGER, MAX, MAX_INT, MEAN, MIN, MIN_INT, PROD, PROD_INT, SUM, SUM_INT
from edgelstm.program.lower.reduce import ARGMAX, REDUCE

_X, _Y, _OUTER, _COUNT = (REDUCE.column(name) for name in ("x", "y", "outer", "count"))
_INNER, _FUNCTION = REDUCE.column("inner"), REDUCE.column("function")
_A_X, _A_Y, _A_OUTER, _A_COUNT = (ARGMAX.column(name) for name in ("x", "y", "outer", "count"))
_A_INNER, _A_LAST, _A_INTEGER = ARGMAX.column("inner"), ARGMAX.column("select_last"), ARGMAX.column("integer")

_INF = np.float32(np.inf)
_INT_MIN, _INT_MAX = -(1 << 31), (1 << 31) - 1


@numba.njit(error_model="numpy", forceinline=True)
def _start(function):
    if function == PROD:
        return np.float32(1.0)
    if function == MAX:
        return -_INF
    if function == MIN:
        return _INF
    return np.float32(0.0)


@numba.njit(error_model="numpy")
def max_words(x, count):
    """The greatest of `count` float32 words one after the other; NaN where one is NaN."""
    best = -_INF
    for i in range(count):
        best = greater(best, load_scalar(x, i))
    return best


@numba.njit(error_model="numpy")
def sum_words(x, count):
    """The sum of `count` float32 words, in order."""
    total = np.float32(0.0)
    for i in range(count):
        total += load_scalar(x, i)
    return total


@numba.njit(error_model="numpy")
def _reduce_line(function, x, count):
    """One result of adjacent words."""
    if function in (SUM, MEAN):
        total = sum_words(x, count)
        return total / np.float32(count) if function == MEAN else total
    if function == MAX:
        return max_words(x, count)
    best = _start(function)
    for i in range(count):
        value = load_scalar(x, i)
        best = best * value if function == PROD else lesser(best, value)
    return best


@numba.njit(error_model="numpy")
def _reduce_columns(function, x, y, count, inner):
    """`inner` results side by side, sixteen at a time."""
    for i in range(0, inner, LANES):
        v = splat(_start(function))
        for r in range(count):
            value = load(x, r * inner + i)
            if function in (SUM, MEAN):
                v = v + value
            elif function == PROD:
                v = v * value
            elif function == MAX:
                v = greatest(v, value)
            else:
                v = least(v, value)
        if function == MEAN:
            v = v / splat(np.float32(count))
        if inner - i >= LANES:
            store(y, i, v)
        else:
            store_partial(y, i, v, inner - i)


@numba.njit(error_model="numpy")
def _reduce_integers(function, x, count, inner):
    """One result of int32 words `inner` apart."""
    best = 1 if function == PROD_INT else _INT_MIN if function == MAX_INT else _INT_MAX if function == MIN_INT else 0
    for r in range(count):
        value = load_int(x, r * inner)
        if function == SUM_INT:
            best += value
        elif function == PROD_INT:
            best *= value
        elif function == MAX_INT:
            best = max(best, value)
        else:
            best = min(best, value)
    return best


@numba.njit(error_model="numpy")
def reduce(context, row):
    """REDUCE: see `program/lower/reduce.py`."""
    x, y = place(context, row, _X), place(context, row, _Y)
    count, inner, function = field(row, _COUNT), field(row, _INNER), field(row, _FUNCTION)
    for o in range(field(row, _OUTER)):
        source, target = x + 4 * o * count * inner, y + 4 * o * inner
        if function >= INTEGER:
            for i in range(inner):
                store_int(target, i, _reduce_integers(function, source + 4 * i, count, inner))
        elif inner == 1:
            store_scalar(target, 0, _reduce_line(function, source, count))
        else:
            _reduce_columns(function, source, target, count, inner)


@numba.njit(error_model="numpy")
def _argmax_floats(x, count, inner, last):
    best, index = load_scalar(x, 0), 0
    for r in range(1, count):
        value = load_scalar(x, r * inner)
        found = (last or not math.isnan(best)) if math.isnan(value) else value > best or (last and value == best)
        if found:
            best, index = value, r
    return index


@numba.njit(error_model="numpy")
def _argmax_integers(x, count, inner, last):
    best, index = load_int(x, 0), 0
    for r in range(1, count):
        value = load_int(x, r * inner)
        if value > best or (last and value == best):
            best, index = value, r
    return index


@numba.njit(error_model="numpy")
def argmax(context, row):
    """ARGMAX: see `program/lower/reduce.py`."""
    x, y = place(context, row, _A_X), place(context, row, _A_Y)
    count, inner, last = field(row, _A_COUNT), field(row, _A_INNER), field(row, _A_LAST) != 0
    integer = field(row, _A_INTEGER)
    for o in range(field(row, _A_OUTER)):
        for i in range(inner):
            line = x + 4 * (o * count * inner + i)
            found = _argmax_integers(line, count, inner, last) if integer else _argmax_floats(line, count, inner, last)
            store_int(y, o * inner + i, found)
