"""Rows times constant weights: see `program/lower/linear.py` for the instruction and the weights' layout.

Each output of each row is one chain: the bias, then one FMA for each k, in order, whatever it is computed
beside. Four chains advance together: four rows, or four blocks of outputs of a single row.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.sequence import store_units
from edgelstm.machine.simd import broadcast, fma, load, store
from edgelstm.program.lower.linear import LINEAR

_X, _W, _Y = (LINEAR.column(name) for name in ("x", "w", "y"))
_ROWS, _INPUTS, _OUTPUTS = (LINEAR.column(name) for name in ("rows", "inputs", "outputs"))

_BLOCK = 4 * 16  # bytes of 16 lanes


@numba.njit(forceinline=True)
def accumulate(w, v, count, a):
    """Add count products w[k] v[k] to one block, whose weights stand _BLOCK bytes apart."""
    for k in range(count):
        a = fma(load(w, 0), broadcast(v, k), a)
        w += _BLOCK
    return a


@numba.njit(forceinline=True)
def accumulate_four(w, next_block, v, count, a, b, c, d):
    """The same for four blocks, `next_block` bytes apart."""
    for k in range(count):
        x = broadcast(v, k)
        w1 = w + next_block
        w2 = w1 + next_block
        a = fma(load(w, 0), x, a)
        b = fma(load(w1, 0), x, b)
        c = fma(load(w2, 0), x, c)
        d = fma(load(w2 + next_block, 0), x, d)
        w += _BLOCK
    return a, b, c, d


@numba.njit(error_model="numpy")
def _four_rows(w, x, inputs, y, outputs):
    """Four rows: every weight is loaded once."""
    x1, y1 = x + 4 * inputs, y + 4 * outputs
    x2, y2 = x1 + 4 * inputs, y1 + 4 * outputs
    x3, y3 = x2 + 4 * inputs, y2 + 4 * outputs
    for unit in range(0, outputs, 16):
        a = b = c = d = load(w, 0)
        w += _BLOCK
        for k in range(inputs):
            weights = load(w, 0)
            a = fma(weights, broadcast(x, k), a)
            b = fma(weights, broadcast(x1, k), b)
            c = fma(weights, broadcast(x2, k), c)
            d = fma(weights, broadcast(x3, k), d)
            w += _BLOCK
        store_units(y, unit, a, outputs)
        store_units(y1, unit, b, outputs)
        store_units(y2, unit, c, outputs)
        store_units(y3, unit, d, outputs)


@numba.njit(error_model="numpy")
def _one_row(w, x, inputs, y, outputs):
    """One row, four blocks of outputs at a time."""
    block = _BLOCK * (1 + inputs)
    unit = 0
    while unit + 64 <= outputs:
        a, b, c, d = load(w, 0), load(w + block, 0), load(w + 2 * block, 0), load(w + 3 * block, 0)
        a, b, c, d = accumulate_four(w + _BLOCK, block, x, inputs, a, b, c, d)
        store(y, unit, a)
        store(y, unit + 16, b)
        store(y, unit + 32, c)
        store(y, unit + 48, d)
        w += 4 * block
        unit += 64
    while unit < outputs:
        store_units(y, unit, accumulate(w + _BLOCK, x, inputs, load(w, 0)), outputs)
        w += block
        unit += 16


@numba.njit(error_model="numpy")
def linear(context, row):
    """LINEAR: see `program/lower/linear.py`."""
    x, w, y = place(context, row, _X), place(context, row, _W), place(context, row, _Y)
    rows, inputs, outputs = field(row, _ROWS), field(row, _INPUTS), field(row, _OUTPUTS)
    while rows >= 4:
        _four_rows(w, x, inputs, y, outputs)
        x += 16 * inputs
        y += 16 * outputs
        rows -= 4
    while rows > 0:
        _one_row(w, x, inputs, y, outputs)
        x += 4 * inputs
        y += 4 * outputs
        rows -= 1
