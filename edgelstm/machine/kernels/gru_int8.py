"""The GRU on int8 weights: see `program/lower/gru_int8.py` for the instruction.

The sums over x and over h stay apart: three vectors each for a block of 16 units, in memory.
"""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.kernels.activation import activate
from edgelstm.machine.kernels.int8 import product, quantize
from edgelstm.machine.kernels.int8_rows import rows_together
from edgelstm.machine.kernels.sequence import own_units, store_units
from edgelstm.machine.kernels.walk import one_by_one
from edgelstm.machine.simd import clamp, fma, load, store
from edgelstm.machine.vecmath import gru_cell, gru_output, gru_reset
from edgelstm.program.lower.gru import GATES
from edgelstm.program.lower.gru_int8 import GRU_INT8
from edgelstm.program.lower.int8 import INTEGER

_R, _N, _BIAS, _H_BIAS = (GRU_INT8.column(name) for name in ("r", "n", "bias", "h_bias"))
_RESET_AFTER, _PLAIN = GRU_INT8.column("reset_after"), GRU_INT8.column("plain")
_F, _F_ALPHA, _F_BETA = (GRU_INT8.column(name) for name in ("function0", "alpha0", "beta0"))
_G, _G_ALPHA, _G_BETA = (GRU_INT8.column(name) for name in ("function1", "alpha1", "beta1"))
_CLIP, _W_MODE, _R_MODE = (GRU_INT8.column(name) for name in ("clip", "w_mode", "r_mode"))
_X_SCALE, _X_ZERO, _H_BOUNDED = (GRU_INT8.column(name) for name in ("x_scale", "x_zero", "h_bounded"))
_INTEGER = INTEGER
_ZERO, _ONE = np.float32(0), np.float32(1)


@numba.njit(error_model="numpy")
def _update_after(row, of_x, of_h, h_before, h, y, units, first, last):
    """The new h of the units `first` to `last` from their sums, reset after the product."""
    plain, limit = field(row, _PLAIN), float_field(row, _CLIP)
    f_function, f_alpha, f_beta = field(row, _F), float_field(row, _F_ALPHA), float_field(row, _F_BETA)
    g_function, g_alpha, g_beta = field(row, _G), float_field(row, _G_ALPHA), float_field(row, _G_BETA)
    for unit in range(first, last, 16):
        z, r, n = load(of_x, 0) + load(of_h, 0), load(of_x, 16) + load(of_h, 16), load(of_x, 32)
        m, before = load(of_h, 32), load(h_before, unit)
        if plain != 0:
            new = gru_cell(z, r, n, m, before)
        else:
            z = activate(f_function, f_alpha, f_beta, clamp(z, -limit, limit))
            r = activate(f_function, f_alpha, f_beta, clamp(r, -limit, limit))
            n = activate(g_function, g_alpha, g_beta, clamp(fma(r, m, n), -limit, limit))
            new = fma(z, before, (1.0 - z) * n)
        store(h, unit, new)
        store_units(y, unit, new, units)
        of_x += 4 * 16 * GATES
        of_h += 4 * 16 * GATES


@numba.njit(error_model="numpy")
def _update_row(row, of_x, of_h, _c_before, _c, h_before, h, y, units):
    _update_after(row, of_x, of_h, h_before, h, y, units, 0, units)


_gru_rows = rows_together(GRU_INT8, _update_row, GATES, h_sums=True)


@numba.njit(error_model="numpy")
def _keep_before(row, of_x, of_h, part, kept, h_before, units):
    """Reset before the product: r * h of all units to `kept`, the candidate's part from x to `part`."""
    plain, limit = field(row, _PLAIN), float_field(row, _CLIP)
    function, alpha, beta = field(row, _F), float_field(row, _F_ALPHA), float_field(row, _F_BETA)
    for unit in range(0, units, 16):
        r, before = load(of_x, 16) + load(of_h, 16), load(h_before, unit)
        if plain != 0:
            store(kept, unit, gru_reset(r, before))
        else:
            store(kept, unit, activate(function, alpha, beta, clamp(r, -limit, limit)) * before)
        store(part, unit, load(of_x, 32))
        of_x += 4 * 16 * GATES
        of_h += 4 * 16 * 2


@numba.njit(error_model="numpy")
def _update_before(row, of_x, of_h, part, h_before, h, y, units):
    """The new h of all units from the sums of z and the whole sums of the candidate."""
    plain, limit = field(row, _PLAIN), float_field(row, _CLIP)
    f_function, f_alpha, f_beta = field(row, _F), float_field(row, _F_ALPHA), float_field(row, _F_BETA)
    g_function, g_alpha, g_beta = field(row, _G), float_field(row, _G_ALPHA), float_field(row, _G_BETA)
    for unit in range(0, units, 16):
        z, n, before = load(of_x, 0) + load(of_h, 0), load(part, unit), load(h_before, unit)
        if plain != 0:
            new = gru_output(z, n, before)
        else:
            z = activate(f_function, f_alpha, f_beta, clamp(z, -limit, limit))
            n = activate(g_function, g_alpha, g_beta, clamp(n, -limit, limit))
            new = fma(z, before, (1.0 - z) * n)
        store(h, unit, new)
        store_units(y, unit, new, units)
        of_x += 4 * 16 * GATES
        of_h += 4 * 16 * 2


@numba.njit(error_model="numpy")
def _together(context, row):
    return _gru_rows(context, row) if field(row, _RESET_AFTER) != 0 else 0


@numba.njit(inline="always")
def _step(context, row, now):
    """One step of one row. Work: the sums over x and over h, r * h; x and h on 8 bits."""
    inputs, units = now.inputs, now.units
    w_mode, r_mode = field(row, _W_MODE), field(row, _R_MODE)
    w, r = now.w, place(context, row, _R)
    bias, h_bias = place(context, row, _BIAS), place(context, row, _H_BIAS)
    x, h_before, h, y, turn = now.x, now.h_before, now.h, now.y, now.turn
    first, last = own_units(context, units)  # all, with reset before
    blocks, stride = (last - first + 15) >> 4, 4 * ((units + 15) & -16)
    of_x = now.work
    of_h = of_x + GATES * stride
    kept = of_h + GATES * stride
    part = of_h + 2 * stride  # free with reset before: the sums over h are two vectors a block
    x_bytes = kept + stride
    h_bytes = x_bytes + ((inputs + 15) & -16)
    of_x += 4 * GATES * first
    of_h += 4 * GATES * first
    least = _ONE if field(row, _H_BOUNDED) != 0 else _ZERO
    scale, zero = _ZERO, 0
    if w_mode == _INTEGER:
        scale, zero = quantize(x, inputs, x_bytes, float_field(row, _X_SCALE), field(row, _X_ZERO), _ZERO)
    product(w_mode, w, GATES * blocks, x, x_bytes, scale, zero, inputs, bias, of_x, turn)
    if r_mode == _INTEGER:
        scale, zero = quantize(h_before, units, h_bytes, _ZERO, 0, least)
    if field(row, _RESET_AFTER) != 0:
        product(r_mode, r, GATES * blocks, h_before, h_bytes, scale, zero, units, h_bias, of_h, turn)
        _update_after(row, of_x, of_h, h_before, h, y, units, first, last)
    else:
        product(r_mode, r, 2 * blocks, h_before, h_bytes, scale, zero, units, h_bias, of_h, turn)
        _keep_before(row, of_x, of_h, part, kept, h_before, units)
        if r_mode == _INTEGER:
            scale, zero = quantize(kept, units, h_bytes, _ZERO, 0, least)
        product(r_mode, place(context, row, _N), blocks, kept, h_bytes, scale, zero, units, part, part, turn)
        _update_before(row, of_x, of_h, part, h_before, h, y, units)


gru_int8 = one_by_one(GRU_INT8, _together, _step)
