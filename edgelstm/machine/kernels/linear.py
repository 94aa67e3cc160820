"""Rows times constant weights: see `program/lower/linear.py` for the instruction and the weights' layout.

Each output of each row is one chain: the bias, then one FMA for each k, in order, whatever it is computed
beside: other rows (`machine/tile.py`), or, of a single row, four blocks of outputs.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.sequence import store_units
from edgelstm.machine.simd import broadcast, fma, load, store
from edgelstm.machine.tile import Block, tallest, tile
from edgelstm.program.lower.linear import LINEAR
from edgelstm.program.lower.recurrent import TALLEST

_X, _W, _Y = (LINEAR.column(name) for name in ("x", "w", "y"))
_ROWS, _INPUTS, _OUTPUTS = (LINEAR.column(name) for name in ("rows", "inputs", "outputs"))

_BLOCK = 4 * 16  # bytes of 16 lanes
_LAYOUT = Block(1, (0,), (None,))
_MANY, _MANY_NARROW, _TWO, _TWO_NARROW = (tile(_LAYOUT, rows, blocks) for rows in (TALLEST, 2) for blocks in (2, 1))


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
def _rows(w, x, inputs, y, outputs, rows):
    """TALLEST or two rows: every weight is loaded once for all of them."""
    block, unit = _BLOCK * (1 + inputs), 0
    while unit < outputs:
        wide = unit + 16 < outputs
        lanes = min(16, outputs - unit - (16 if wide else 0))
        to = y + 4 * unit
        if rows == TALLEST and wide:
            _MANY(w, block, x, 4 * inputs, inputs, 0, 0, 0, to, 4 * outputs, lanes)
        elif rows == TALLEST:
            _MANY_NARROW(w, block, x, 4 * inputs, inputs, 0, 0, 0, to, 4 * outputs, lanes)
        elif wide:
            _TWO(w, block, x, 4 * inputs, inputs, 0, 0, 0, to, 4 * outputs, lanes)
        else:
            _TWO_NARROW(w, block, x, 4 * inputs, inputs, 0, 0, 0, to, 4 * outputs, lanes)
        unit += 32 if wide else 16
        w += 2 * block if wide else block


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
    while tallest() > 1 and rows > 1:
        count = TALLEST if tallest() == TALLEST and rows >= TALLEST else 2
        _rows(w, x, inputs, y, outputs, count)
        x += 4 * count * inputs
        y += 4 * count * outputs
        rows -= count
    while rows > 0:
        _one_row(w, x, inputs, y, outputs)
        x += 4 * inputs
        y += 4 * outputs
        rows -= 1
