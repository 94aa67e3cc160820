"""Several rows of a GRU's batch at once, where the reset comes after the product: see `lstm_rows.py`.

Each sum of each unit of each row is the same chain as for a row alone (see `gru.py`), so the bits are the same.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.sequence import copy_row, store_units, zero_rows
from edgelstm.machine.simd import broadcast, fma, has_wide_registers, load, store
from edgelstm.machine.vecmath import gru_cell
from edgelstm.program.lower.gru import BIASES, GATES, GRU
from edgelstm.program.lower.recurrent import TOGETHER

_X, _W, _H0, _Y, _H, _LENGTHS, _KEEP = (GRU.column(name) for name in ("x", "w", "h0", "y", "h", "lengths", "keep"))
_WORK, _TIME, _BATCH, _INPUTS, _UNITS = (GRU.column(name) for name in ("work", "T", "B", "I", "H"))
_X_TIME, _X_ROW, _Y_TIME, _Y_ROW = (GRU.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))
_H0_STRIDE, _RESET_AFTER, _PLAIN, _REVERSE = (
    GRU.column(name) for name in ("h0_stride", "reset_after", "plain", "reverse")
)

_BLOCK = 4 * 16  # bytes of 16 lanes
_START = _BLOCK * BIASES  # bytes of the biases of a block
_SUMS = 4 * 64  # bytes of the four sums of a block


@numba.njit(forceinline=True)
def _x_of_six(w, v, v_row, count, az, ar, an, bz, br, bn, cz, cr, cn, dz, dr, dn, ez, er, en, fz, fr, fn):
    """Add count products to z, r, n of six rows, `v_row` bytes apart."""
    v1 = v + v_row
    v2 = v1 + v_row
    v3 = v2 + v_row
    v4 = v3 + v_row
    v5 = v4 + v_row
    for k in range(count):
        w0, w1, w2 = load(w, 0), load(w, 16), load(w, 32)
        x = broadcast(v, k)
        az, ar, an = fma(w0, x, az), fma(w1, x, ar), fma(w2, x, an)
        x = broadcast(v1, k)
        bz, br, bn = fma(w0, x, bz), fma(w1, x, br), fma(w2, x, bn)
        x = broadcast(v2, k)
        cz, cr, cn = fma(w0, x, cz), fma(w1, x, cr), fma(w2, x, cn)
        x = broadcast(v3, k)
        dz, dr, dn = fma(w0, x, dz), fma(w1, x, dr), fma(w2, x, dn)
        x = broadcast(v4, k)
        ez, er, en = fma(w0, x, ez), fma(w1, x, er), fma(w2, x, en)
        x = broadcast(v5, k)
        fz, fr, fn = fma(w0, x, fz), fma(w1, x, fr), fma(w2, x, fn)
        w += 3 * _BLOCK
    return az, ar, an, bz, br, bn, cz, cr, cn, dz, dr, dn, ez, er, en, fz, fr, fn


@numba.njit(forceinline=True)
def _h_of_six(w, v, v_row, count, az, ar, am, bz, br, bm, cz, cr, cm, dz, dr, dm, ez, er, em, fz, fr, fm):
    """Add count products to z, r, m of six rows, `v_row` bytes apart."""
    v1 = v + v_row
    v2 = v1 + v_row
    v3 = v2 + v_row
    v4 = v3 + v_row
    v5 = v4 + v_row
    for k in range(count):
        w0, w1, w2 = load(w, 0), load(w, 16), load(w, 32)
        x = broadcast(v, k)
        az, ar, am = fma(w0, x, az), fma(w1, x, ar), fma(w2, x, am)
        x = broadcast(v1, k)
        bz, br, bm = fma(w0, x, bz), fma(w1, x, br), fma(w2, x, bm)
        x = broadcast(v2, k)
        cz, cr, cm = fma(w0, x, cz), fma(w1, x, cr), fma(w2, x, cm)
        x = broadcast(v3, k)
        dz, dr, dm = fma(w0, x, dz), fma(w1, x, dr), fma(w2, x, dm)
        x = broadcast(v4, k)
        ez, er, em = fma(w0, x, ez), fma(w1, x, er), fma(w2, x, em)
        x = broadcast(v5, k)
        fz, fr, fm = fma(w0, x, fz), fma(w1, x, fr), fma(w2, x, fm)
        w += 3 * _BLOCK
    return az, ar, am, bz, br, bm, cz, cr, cm, dz, dr, dm, ez, er, em, fz, fr, fm


@numba.njit(error_model="numpy")
def _block_six(w, x, x_row, inputs, h, h_row, units, gates):
    """The sums of one block of 16 units of six rows, to memory."""
    az = bz = cz = dz = ez = fz = load(w, 0)
    ar = br = cr = dr = er = fr = load(w, 16)
    an = bn = cn = dn = en = fn = load(w, 32)
    am = bm = cm = dm = em = fm = load(w, 48)
    w += _START
    az, ar, an, bz, br, bn, cz, cr, cn, dz, dr, dn, ez, er, en, fz, fr, fn = _x_of_six(
        w, x, x_row, inputs, az, ar, an, bz, br, bn, cz, cr, cn, dz, dr, dn, ez, er, en, fz, fr, fn
    )
    w += 3 * _BLOCK * inputs
    az, ar, am, bz, br, bm, cz, cr, cm, dz, dr, dm, ez, er, em, fz, fr, fm = _h_of_six(
        w, h, h_row, units, az, ar, am, bz, br, bm, cz, cr, cm, dz, dr, dm, ez, er, em, fz, fr, fm
    )
    store(gates, 0, az)
    store(gates, 16, ar)
    store(gates, 32, an)
    store(gates, 48, am)
    store(gates, 64, bz)
    store(gates, 80, br)
    store(gates, 96, bn)
    store(gates, 112, bm)
    store(gates, 128, cz)
    store(gates, 144, cr)
    store(gates, 160, cn)
    store(gates, 176, cm)
    store(gates, 192, dz)
    store(gates, 208, dr)
    store(gates, 224, dn)
    store(gates, 240, dm)
    store(gates, 256, ez)
    store(gates, 272, er)
    store(gates, 288, en)
    store(gates, 304, em)
    store(gates, 320, fz)
    store(gates, 336, fr)
    store(gates, 352, fn)
    store(gates, 368, fm)


@numba.njit(forceinline=True)
def _x_of_two(w, v, v_row, count, az, ar, an, bz, br, bn):
    """Add count products to z, r, n of two rows, `v_row` bytes apart."""
    v1 = v + v_row
    for k in range(count):
        w0, w1, w2 = load(w, 0), load(w, 16), load(w, 32)
        x = broadcast(v, k)
        az, ar, an = fma(w0, x, az), fma(w1, x, ar), fma(w2, x, an)
        x = broadcast(v1, k)
        bz, br, bn = fma(w0, x, bz), fma(w1, x, br), fma(w2, x, bn)
        w += 3 * _BLOCK
    return az, ar, an, bz, br, bn


@numba.njit(forceinline=True)
def _h_of_two(w, v, v_row, count, az, ar, am, bz, br, bm):
    """Add count products to z, r, m of two rows, `v_row` bytes apart."""
    v1 = v + v_row
    for k in range(count):
        w0, w1, w2 = load(w, 0), load(w, 16), load(w, 32)
        x = broadcast(v, k)
        az, ar, am = fma(w0, x, az), fma(w1, x, ar), fma(w2, x, am)
        x = broadcast(v1, k)
        bz, br, bm = fma(w0, x, bz), fma(w1, x, br), fma(w2, x, bm)
        w += 3 * _BLOCK
    return az, ar, am, bz, br, bm


@numba.njit(error_model="numpy")
def _block_two(w, x, x_row, inputs, h, h_row, units, gates):
    """The sums of one block of 16 units of two rows, to memory."""
    az = bz = load(w, 0)
    ar = br = load(w, 16)
    an = bn = load(w, 32)
    am = bm = load(w, 48)
    w += _START
    az, ar, an, bz, br, bn = _x_of_two(w, x, x_row, inputs, az, ar, an, bz, br, bn)
    w += 3 * _BLOCK * inputs
    az, ar, am, bz, br, bm = _h_of_two(w, h, h_row, units, az, ar, am, bz, br, bm)
    store(gates, 0, az)
    store(gates, 16, ar)
    store(gates, 32, an)
    store(gates, 48, am)
    store(gates, 64, bz)
    store(gates, 80, br)
    store(gates, 96, bn)
    store(gates, 112, bm)


@numba.njit(error_model="numpy")
def _finish(gates, rows, h_before, before_row, h, h_row, y, y_row, unit, units):
    """The new h of one block of 16 units, row by row; y (0: none) is written exactly."""
    for _ in range(rows):
        z, r, n, m = load(gates, 0), load(gates, 16), load(gates, 32), load(gates, 48)
        new = gru_cell(z, r, n, m, load(h_before, unit))
        store(h, unit, new)
        store_units(y, unit, new, units)
        gates += _SUMS
        h_before += before_row
        h += h_row
        y += y_row


@numba.njit(error_model="numpy")
def _step(w, rows, x, x_row, inputs, hb, hb_row, h, row, y, y_row, gates, units):
    """One step of an even number of rows; h stands in work, `row` bytes apart."""
    block = _START + _BLOCK * GATES * (inputs + units)
    for unit in range(0, units, 16):
        r = 0
        while r < rows:
            x_at, h_at = x + r * x_row, hb + r * hb_row
            if rows - r >= 6:
                count = 6
                _block_six(w, x_at, x_row, inputs, h_at, hb_row, units, gates)
            else:
                count = 2
                _block_two(w, x_at, x_row, inputs, h_at, hb_row, units, gates)
            _finish(gates, count, h_at, hb_row, h + r * row, row, y + r * y_row, y_row, unit, units)
            r += count
        w += block


@numba.njit(error_model="numpy")
def gru_rows(context, row):
    """As many rows of the batch as go together; answers how many."""
    batch = field(row, _BATCH)
    if not has_wide_registers() or batch < 2 or field(row, _PLAIN) == 0 or field(row, _RESET_AFTER) == 0:
        return 0
    if field(row, _LENGTHS) >= 0 or field(row, _KEEP) >= 0:
        return 0
    w, time, inputs, units = place(context, row, _W), field(row, _TIME), field(row, _INPUTS), field(row, _UNITS)
    x_time, y_time = 4 * field(row, _X_TIME), 4 * field(row, _Y_TIME)
    x_row, y_row = 4 * field(row, _X_ROW), 4 * field(row, _Y_ROW)
    size = 4 * ((units + 15) & -16)
    stride = 2 * size
    gates = place(context, row, _WORK)
    work = gates + 6 * _SUMS
    h_out = place(context, row, _H)
    b = 0
    while batch - b >= 2:
        rows = min(batch - b, TOGETHER) & -2
        here, there = work, work + size
        x, y = place(context, row, _X) + b * x_row, place(context, row, _Y)
        hb, hb_row = place(context, row, _H0), 4 * field(row, _H0_STRIDE)
        if hb != 0:
            hb += b * hb_row
        else:
            hb, hb_row = there, stride
            zero_rows(there, stride, rows, size >> 2)
        x_step, y_step, between = x_time, 0, 0
        if y != 0:
            y += b * y_row
            y_step, between = y_time, y_row
        if field(row, _REVERSE) != 0:
            x += (time - 1) * x_step
            y += (time - 1) * y_step
            x_step, y_step = -x_step, -y_step
        for _ in range(time):
            _step(w, rows, x, x_row, inputs, hb, hb_row, here, stride, y, between, gates, units)
            hb, hb_row = here, stride
            here, there = there, here
            x += x_step
            y += y_step
        for _ in range(rows):
            if h_out != 0:
                copy_row(hb, h_out + 4 * b * units, units)
            hb += hb_row
            b += 1
    return b
