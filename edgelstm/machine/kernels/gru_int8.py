"""The GRU on int8 weights: see `program/lower/gru_int8.py` for the instruction.

The sums over x and over h stay apart: three vectors each for a block of 16 units, in memory.
"""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import TURN, field, float_field, place
from edgelstm.machine.kernels.activation import activate
from edgelstm.machine.kernels.int8 import product, quantize
from edgelstm.machine.kernels.int8_rows import rows_together
from edgelstm.machine.kernels.sequence import copy_row, keeps, own_units, row_length, store_units, zero_rows
from edgelstm.machine.simd import clamp, fma, load, read64, store
from edgelstm.machine.vecmath import gru_cell, gru_output, gru_reset
from edgelstm.program.lower.gru import GATES
from edgelstm.program.lower.gru_int8 import GRU_INT8
from edgelstm.program.lower.int8 import INTEGER

_KEEP = GRU_INT8.column("keep")
_X, _W, _H0, _Y, _H, _R, _N = (GRU_INT8.column(name) for name in ("x", "w", "h0", "y", "h", "r", "n"))
_BIAS, _H_BIAS, _LENGTHS, _WORK = (GRU_INT8.column(name) for name in ("bias", "h_bias", "lengths", "work"))
_TIME, _BATCH, _INPUTS, _UNITS, _REVERSE = (GRU_INT8.column(name) for name in ("T", "B", "I", "H", "reverse"))
_X_TIME, _X_ROW, _Y_TIME, _Y_ROW = (GRU_INT8.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))
_H0_STRIDE, _RESET_AFTER, _PLAIN = (GRU_INT8.column(name) for name in ("h0_stride", "reset_after", "plain"))
_F, _F_ALPHA, _F_BETA = (GRU_INT8.column(name) for name in ("function0", "alpha0", "beta0"))
_G, _G_ALPHA, _G_BETA = (GRU_INT8.column(name) for name in ("function1", "alpha1", "beta1"))
_CLIP, _W_MODE, _R_MODE = (GRU_INT8.column(name) for name in ("clip", "w_mode", "r_mode"))
_X_SCALE, _H_BOUNDED = GRU_INT8.column("x_scale"), GRU_INT8.column("h_bounded")
_INTEGER = INTEGER
_X_ZERO = GRU_INT8.column("x_zero")
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
def gru_int8(context, row):
    """One direction of one layer: rows of the batch outside, time inside."""
    w, r, n = place(context, row, _W), place(context, row, _R), place(context, row, _N)
    bias, h_bias = place(context, row, _BIAS), place(context, row, _H_BIAS)
    lengths, after = place(context, row, _LENGTHS), field(row, _RESET_AFTER)
    time, batch, inputs, units = field(row, _TIME), field(row, _BATCH), field(row, _INPUTS), field(row, _UNITS)
    w_mode, r_mode, x_scale = field(row, _W_MODE), field(row, _R_MODE), float_field(row, _X_SCALE)
    x_zero = field(row, _X_ZERO)
    least = _ONE if field(row, _H_BOUNDED) != 0 else _ZERO
    keep, reverse = place(context, row, _KEEP), field(row, _REVERSE)
    x_time, y_time = 4 * field(row, _X_TIME), 4 * field(row, _Y_TIME)
    blocks = (units + 15) >> 4
    here = place(context, row, _WORK)
    there = here + 64 * blocks
    of_x = there + 64 * blocks
    of_h = of_x + 64 * GATES * blocks
    kept = of_h + 64 * GATES * blocks
    part = of_h + 64 * 2 * blocks  # free with reset before: the sums over h are two vectors a block
    x_bytes = kept + 64 * blocks
    h_bytes = x_bytes + ((inputs + 15) & -16)
    first, last = own_units(context, units)  # all, with reset before
    blocks = (last - first + 15) >> 4
    of_x += 4 * GATES * first
    of_h += 4 * GATES * first
    turn = read64(context, TURN)
    done = _gru_rows(context, row) if after != 0 else 0
    for b in range(done, batch):
        steps = row_length(lengths, b, time)
        x = place(context, row, _X) + 4 * b * field(row, _X_ROW)
        y = place(context, row, _Y)
        if y != 0:
            y += 4 * b * field(row, _Y_ROW)
            zero_rows(y + steps * y_time, y_time, time - steps, units)
        h_before = place(context, row, _H0)
        if h_before != 0:
            h_before += 4 * b * field(row, _H0_STRIDE)
        else:
            h_before = there
            zero_rows(there, 0, 1, (units + 15) & -16)
        x_step, y_step = x_time, y_time if y != 0 else 0
        if reverse != 0:
            x += (steps - 1) * x_step
            y += (steps - 1) * y_step
            x_step, y_step = -x_step, -y_step
        for k in range(steps):
            if keeps(keep, k, steps, reverse, batch, b):
                copy_row(h_before, y, units)
                x += x_step
                y += y_step
                continue
            scale, zero = _ZERO, 0
            if w_mode == _INTEGER:
                scale, zero = quantize(x, inputs, x_bytes, x_scale, x_zero, _ZERO)
            product(w_mode, w, GATES * blocks, x, x_bytes, scale, zero, inputs, bias, of_x, turn)
            if r_mode == _INTEGER:
                scale, zero = quantize(h_before, units, h_bytes, _ZERO, 0, least)
            if after != 0:
                product(r_mode, r, GATES * blocks, h_before, h_bytes, scale, zero, units, h_bias, of_h, turn)
                first, last = own_units(context, units)
                _update_after(row, of_x, of_h, h_before, here, y, units, first, last)
            else:
                product(r_mode, r, 2 * blocks, h_before, h_bytes, scale, zero, units, h_bias, of_h, turn)
                _keep_before(row, of_x, of_h, part, kept, h_before, units)
                if r_mode == _INTEGER:
                    scale, zero = quantize(kept, units, h_bytes, _ZERO, 0, least)
                product(r_mode, n, blocks, kept, h_bytes, scale, zero, units, part, part, turn)
                _update_before(row, of_x, of_h, part, h_before, here, y, units)
            turn ^= 1
            h_before = here
            here, there = there, here
            x += x_step
            y += y_step
        h_out = place(context, row, _H)
        if h_out != 0:
            copy_row(h_before, h_out + 4 * b * units, units)
