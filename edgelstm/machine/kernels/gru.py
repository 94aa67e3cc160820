"""The GRU over a sequence: see `program/lower/gru.py` for the instruction and the weights' layout.

Each gate of each unit is one chain: the bias, then one FMA for each k of x, then of h (for the
candidate with reset before: of r * h), in order. Where registers allow, two blocks of 16 units
advance together. With reset after, z, r and the two sums of the candidate are made in one pass; with
reset before, the candidate's recurrent part needs a second one.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, float_field
from edgelstm.machine.kernels.activation import activate
from edgelstm.machine.kernels.gru_rows import gru_rows
from edgelstm.machine.kernels.linear import accumulate, accumulate_four
from edgelstm.machine.kernels.sequence import own_units, store_units
from edgelstm.machine.kernels.walk import one_by_one
from edgelstm.machine.simd import broadcast, clamp, fma, has_wide_registers, load, store
from edgelstm.machine.vecmath import gru_cell, gru_output, gru_reset
from edgelstm.program.lower.gru import BIASES, GATES, GRU

_RESET_AFTER, _PLAIN = GRU.column("reset_after"), GRU.column("plain")
_F, _F_ALPHA, _F_BETA = (GRU.column(name) for name in ("function0", "alpha0", "beta0"))
_G, _G_ALPHA, _G_BETA = (GRU.column(name) for name in ("function1", "alpha1", "beta1"))
_CLIP = GRU.column("clip")

_BLOCK = 4 * 16  # bytes of 16 lanes
_START = _BLOCK * BIASES  # bytes of the biases of a block


@numba.njit(forceinline=True)
def _three(w, v, count, z, r, n):
    """Add count products to z, r and n of one block."""
    for k in range(count):
        x = broadcast(v, k)
        z = fma(load(w, 0), x, z)
        r = fma(load(w, 16), x, r)
        n = fma(load(w, 32), x, n)
        w += 3 * _BLOCK
    return z, r, n


@numba.njit(forceinline=True)
def _three_of_two(w, block, v, count, z, r, n, z2, r2, n2):
    """Add count products to z, r and n of two blocks, whose weights lie `block` bytes apart."""
    for k in range(count):
        x = broadcast(v, k)
        w2 = w + block
        z = fma(load(w, 0), x, z)
        r = fma(load(w, 16), x, r)
        n = fma(load(w, 32), x, n)
        z2 = fma(load(w2, 0), x, z2)
        r2 = fma(load(w2, 16), x, r2)
        n2 = fma(load(w2, 32), x, n2)
        w += 3 * _BLOCK
    return z, r, n, z2, r2, n2


@numba.njit(forceinline=True)
def _two(w, v, count, z, r):
    """Add count products to z and r of one block."""
    for k in range(count):
        x = broadcast(v, k)
        z = fma(load(w, 0), x, z)
        r = fma(load(w, 16), x, r)
        w += 2 * _BLOCK
    return z, r


@numba.njit(forceinline=True)
def _two_of_two(w, block, v, count, z, r, z2, r2):
    """Add count products to z and r of two blocks."""
    for k in range(count):
        x = broadcast(v, k)
        w2 = w + block
        z = fma(load(w, 0), x, z)
        r = fma(load(w, 16), x, r)
        z2 = fma(load(w2, 0), x, z2)
        r2 = fma(load(w2, 16), x, r2)
        w += 2 * _BLOCK
    return z, r, z2, r2


# --- reset after the product -----------------------------------------------------------------------


@numba.njit(forceinline=True)
def _put_after(plain, z, r, n, m, h_before, h, y, gates, unit, units):
    """What becomes of the four sums of one block: the new h in registers, or memory for the general path."""
    if plain != 0:
        new = gru_cell(z, r, n, m, load(h_before, unit))
        store(h, unit, new)
        store_units(y, unit, new, units)
    else:
        to = gates + 16 * unit
        store(to, 0, z)
        store(to, 16, r)
        store(to, 32, n)
        store(to, 48, m)


@numba.njit(error_model="numpy")
def _step_after(context, row, now):
    """One step of the own units with z, r and both sums of the candidate in one pass.

    `turn`: from the last block to the first.
    """
    x, h_before, h, y = now.x, now.h_before, now.h, now.y
    w, inputs, units, plain = now.w, now.inputs, now.units, field(row, _PLAIN)
    first, last = own_units(context, units)
    block = _START + _BLOCK * GATES * (inputs + units)
    of_h = _START + _BLOCK * GATES * inputs
    width = 32 if has_wide_registers() else 16
    count = (last - first + width - 1) // width
    for number in range(count):
        unit = first + width * (count - 1 - number if now.turn else number)
        at = w + block * (unit >> 4)
        z, r, n, m = load(at, 0), load(at, 16), load(at, 32), load(at, 48)
        if has_wide_registers() and unit + 16 < units:
            w2 = at + block
            z2, r2, n2, m2 = load(w2, 0), load(w2, 16), load(w2, 32), load(w2, 48)
            z, r, n, z2, r2, n2 = _three_of_two(at + _START, block, x, inputs, z, r, n, z2, r2, n2)
            z, r, m, z2, r2, m2 = _three_of_two(at + of_h, block, h_before, units, z, r, m, z2, r2, m2)
            _put_after(plain, z, r, n, m, h_before, h, y, now.work, unit, units)
            _put_after(plain, z2, r2, n2, m2, h_before, h, y, now.work, unit + 16, units)
        else:
            z, r, n = _three(at + _START, x, inputs, z, r, n)
            z, r, m = _three(at + of_h, h_before, units, z, r, m)
            _put_after(plain, z, r, n, m, h_before, h, y, now.work, unit, units)


@numba.njit(error_model="numpy")
def _activate_after(context, row, now):
    """The general path: activations and new h of the own units, from the sums in memory."""
    h_before, h, y, units = now.h_before, now.h, now.y, now.units
    first, last = own_units(context, units)
    limit = float_field(row, _CLIP)
    f_function, f_alpha, f_beta = field(row, _F), float_field(row, _F_ALPHA), float_field(row, _F_BETA)
    g_function, g_alpha, g_beta = field(row, _G), float_field(row, _G_ALPHA), float_field(row, _G_BETA)
    for unit in range(first, last, 16):
        block = now.work + 16 * unit
        z = activate(f_function, f_alpha, f_beta, clamp(load(block, 0), -limit, limit))
        r = activate(f_function, f_alpha, f_beta, clamp(load(block, 16), -limit, limit))
        n = fma(r, load(block, 48), load(block, 32))
        n = activate(g_function, g_alpha, g_beta, clamp(n, -limit, limit))
        new = fma(z, load(h_before, unit), (1.0 - z) * n)
        store(h, unit, new)
        store_units(y, unit, new, units)


# --- reset before the product -------------------------------------------------------------------------


@numba.njit(forceinline=True)
def _put_before(row, z, r, n, h_before, gates, unit, stride):
    """Keep the sum of z, the candidate's part from x, and r * h of one block."""
    before = load(h_before, unit)
    if field(row, _PLAIN) != 0:
        kept = gru_reset(r, before)
    else:
        limit, alpha, beta = float_field(row, _CLIP), float_field(row, _F_ALPHA), float_field(row, _F_BETA)
        kept = activate(field(row, _F), alpha, beta, clamp(r, -limit, limit)) * before
    store(gates, unit, z)
    store(gates, stride + unit, n)
    store(gates, 2 * stride + unit, kept)


@numba.njit(forceinline=True)
def _finish_before(row, n, h_before, h, y, gates, unit, units):
    """The new h of one block from the sum of the candidate."""
    z, before = load(gates, unit), load(h_before, unit)
    if field(row, _PLAIN) != 0:
        new = gru_output(z, n, before)
    else:
        limit = float_field(row, _CLIP)
        alpha, beta = float_field(row, _F_ALPHA), float_field(row, _F_BETA)
        z = activate(field(row, _F), alpha, beta, clamp(z, -limit, limit))
        alpha, beta = float_field(row, _G_ALPHA), float_field(row, _G_BETA)
        n = activate(field(row, _G), alpha, beta, clamp(n, -limit, limit))
        new = fma(z, before, (1.0 - z) * n)
    store(h, unit, new)
    store_units(y, unit, new, units)


@numba.njit(error_model="numpy")
def _step_before(row, now):
    """One step in two passes: z, r and the candidate's part from x; then its part from r * h."""
    x, h_before, h, y, gates = now.x, now.h_before, now.h, now.y, now.work
    inputs, units = now.inputs, now.units
    block = _START + _BLOCK * GATES * (inputs + units)
    of_h = _START + _BLOCK * GATES * inputs
    of_n = of_h + _BLOCK * 2 * units
    stride = (units + 15) & -16
    w, unit = now.w, 0
    while has_wide_registers() and unit + 16 < units:
        w2 = w + block
        z, r, n, z2, r2, n2 = load(w, 0), load(w, 16), load(w, 32), load(w2, 0), load(w2, 16), load(w2, 32)
        z, r, n, z2, r2, n2 = _three_of_two(w + _START, block, x, inputs, z, r, n, z2, r2, n2)
        z, r, z2, r2 = _two_of_two(w + of_h, block, h_before, units, z, r, z2, r2)
        _put_before(row, z, r, n, h_before, gates, unit, stride)
        _put_before(row, z2, r2, n2, h_before, gates, unit + 16, stride)
        w += 2 * block
        unit += 32
    while unit < units:
        z, r, n = _three(w + _START, x, inputs, load(w, 0), load(w, 16), load(w, 32))
        z, r = _two(w + of_h, h_before, units, z, r)
        _put_before(row, z, r, n, h_before, gates, unit, stride)
        w += block
        unit += 16
    part, kept = gates + 4 * stride, gates + 8 * stride
    w, unit = now.w + of_n, 0
    while unit + 48 < units:
        a, b, c, d = load(part, unit), load(part, unit + 16), load(part, unit + 32), load(part, unit + 48)
        a, b, c, d = accumulate_four(w, block, kept, units, a, b, c, d)
        _finish_before(row, a, h_before, h, y, gates, unit, units)
        _finish_before(row, b, h_before, h, y, gates, unit + 16, units)
        _finish_before(row, c, h_before, h, y, gates, unit + 32, units)
        _finish_before(row, d, h_before, h, y, gates, unit + 48, units)
        w += 4 * block
        unit += 64
    while unit < units:
        a = accumulate(w, kept, units, load(part, unit))
        _finish_before(row, a, h_before, h, y, gates, unit, units)
        w += block
        unit += 16


@numba.njit(inline="always")
def _step(context, row, now):
    """One step of one row."""
    if field(row, _RESET_AFTER) == 0:
        _step_before(row, now)
    else:
        _step_after(context, row, now)
        if field(row, _PLAIN) == 0:
            _activate_after(context, row, now)


gru = one_by_one(GRU, gru_rows, _step)
