"""Several rows of an LSTM's batch at once: every weight is loaded once for all of them.

Each gate of each unit of each row is the same chain as for a row alone (see `lstm.py`), so the bits are the same.
With AVX-512 six rows by four gates fill 24 of the 32 registers; elsewhere rows go one by one.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.sequence import copy_row, store_units, zero_rows
from edgelstm.machine.simd import broadcast, fma, has_wide_registers, load, store
from edgelstm.machine.vecmath import lstm_cell
from edgelstm.program.lower.lstm import GATES, LSTM
from edgelstm.program.lower.recurrent import TOGETHER

_KEEP = LSTM.column("keep")
_X, _W, _H0, _C0, _Y, _H, _C = (LSTM.column(name) for name in ("x", "w", "h0", "c0", "y", "h", "c"))
_WORK, _LENGTHS, _TIME, _BATCH = (LSTM.column(name) for name in ("work", "lengths", "T", "B"))
_INPUTS, _UNITS, _REVERSE, _PLAIN = (LSTM.column(name) for name in ("I", "H", "reverse", "plain"))
_X_TIME, _X_ROW, _Y_TIME, _Y_ROW = (LSTM.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))
_H0_STRIDE, _C0_STRIDE = LSTM.column("h0_stride"), LSTM.column("c0_stride")

_K = 16 * GATES  # words of packed weights for one k


@numba.njit(forceinline=True)
def _accumulate_six(
    w, v, v_row, count, ai, ao, af, ag, bi, bo, bf, bg, ci, co, cf, cg, di, do, df, dg, ei, eo, ef, eg, fi, fo, ff, fg
):
    """Add count products w[k] v[k] to the gates of six rows, `v_row` bytes apart."""
    v1 = v + v_row
    v2 = v1 + v_row
    v3 = v2 + v_row
    v4 = v3 + v_row
    v5 = v4 + v_row
    for k in range(count):
        wi, wo, wf, wg = load(w, 0), load(w, 16), load(w, 32), load(w, 48)
        x = broadcast(v, k)
        ai, ao, af, ag = fma(wi, x, ai), fma(wo, x, ao), fma(wf, x, af), fma(wg, x, ag)
        x = broadcast(v1, k)
        bi, bo, bf, bg = fma(wi, x, bi), fma(wo, x, bo), fma(wf, x, bf), fma(wg, x, bg)
        x = broadcast(v2, k)
        ci, co, cf, cg = fma(wi, x, ci), fma(wo, x, co), fma(wf, x, cf), fma(wg, x, cg)
        x = broadcast(v3, k)
        di, do, df, dg = fma(wi, x, di), fma(wo, x, do), fma(wf, x, df), fma(wg, x, dg)
        x = broadcast(v4, k)
        ei, eo, ef, eg = fma(wi, x, ei), fma(wo, x, eo), fma(wf, x, ef), fma(wg, x, eg)
        x = broadcast(v5, k)
        fi, fo, ff, fg = fma(wi, x, fi), fma(wo, x, fo), fma(wf, x, ff), fma(wg, x, fg)
        w += 4 * _K
    return ai, ao, af, ag, bi, bo, bf, bg, ci, co, cf, cg, di, do, df, dg, ei, eo, ef, eg, fi, fo, ff, fg


@numba.njit(error_model="numpy")
def _block_six(w, x, x_row, inputs, h, h_row, units, gates):
    """The gates of one block of 16 units of six rows, to memory."""
    ai = bi = ci = di = ei = fi = load(w, 0)
    ao = bo = co = do = eo = fo = load(w, 16)
    af = bf = cf = df = ef = ff = load(w, 32)
    ag = bg = cg = dg = eg = fg = load(w, 48)
    w += 4 * _K
    ai, ao, af, ag, bi, bo, bf, bg, ci, co, cf, cg, di, do, df, dg, ei, eo, ef, eg, fi, fo, ff, fg = _accumulate_six(
        w,
        x,
        x_row,
        inputs,
        ai,
        ao,
        af,
        ag,
        bi,
        bo,
        bf,
        bg,
        ci,
        co,
        cf,
        cg,
        di,
        do,
        df,
        dg,
        ei,
        eo,
        ef,
        eg,
        fi,
        fo,
        ff,
        fg,
    )
    w += 4 * _K * inputs
    ai, ao, af, ag, bi, bo, bf, bg, ci, co, cf, cg, di, do, df, dg, ei, eo, ef, eg, fi, fo, ff, fg = _accumulate_six(
        w,
        h,
        h_row,
        units,
        ai,
        ao,
        af,
        ag,
        bi,
        bo,
        bf,
        bg,
        ci,
        co,
        cf,
        cg,
        di,
        do,
        df,
        dg,
        ei,
        eo,
        ef,
        eg,
        fi,
        fo,
        ff,
        fg,
    )
    store(gates, 0, ai)
    store(gates, 16, ao)
    store(gates, 32, af)
    store(gates, 48, ag)
    store(gates, 64, bi)
    store(gates, 80, bo)
    store(gates, 96, bf)
    store(gates, 112, bg)
    store(gates, 128, ci)
    store(gates, 144, co)
    store(gates, 160, cf)
    store(gates, 176, cg)
    store(gates, 192, di)
    store(gates, 208, do)
    store(gates, 224, df)
    store(gates, 240, dg)
    store(gates, 256, ei)
    store(gates, 272, eo)
    store(gates, 288, ef)
    store(gates, 304, eg)
    store(gates, 320, fi)
    store(gates, 336, fo)
    store(gates, 352, ff)
    store(gates, 368, fg)


@numba.njit(forceinline=True)
def _accumulate_two(w, v, v_row, count, ai, ao, af, ag, bi, bo, bf, bg):
    """Add count products w[k] v[k] to the gates of two rows, `v_row` bytes apart."""
    v1 = v + v_row
    for k in range(count):
        wi, wo, wf, wg = load(w, 0), load(w, 16), load(w, 32), load(w, 48)
        x = broadcast(v, k)
        ai, ao, af, ag = fma(wi, x, ai), fma(wo, x, ao), fma(wf, x, af), fma(wg, x, ag)
        x = broadcast(v1, k)
        bi, bo, bf, bg = fma(wi, x, bi), fma(wo, x, bo), fma(wf, x, bf), fma(wg, x, bg)
        w += 4 * _K
    return ai, ao, af, ag, bi, bo, bf, bg


@numba.njit(error_model="numpy")
def _block_two(w, x, x_row, inputs, h, h_row, units, gates):
    """The gates of one block of 16 units of two rows, to memory."""
    ai = bi = load(w, 0)
    ao = bo = load(w, 16)
    af = bf = load(w, 32)
    ag = bg = load(w, 48)
    w += 4 * _K
    ai, ao, af, ag, bi, bo, bf, bg = _accumulate_two(w, x, x_row, inputs, ai, ao, af, ag, bi, bo, bf, bg)
    w += 4 * _K * inputs
    ai, ao, af, ag, bi, bo, bf, bg = _accumulate_two(w, h, h_row, units, ai, ao, af, ag, bi, bo, bf, bg)
    store(gates, 0, ai)
    store(gates, 16, ao)
    store(gates, 32, af)
    store(gates, 48, ag)
    store(gates, 64, bi)
    store(gates, 80, bo)
    store(gates, 96, bf)
    store(gates, 112, bg)


@numba.njit(error_model="numpy")
def _finish(gates, rows, c_before, c_before_row, c, c_row, h, h_row, y, y_row, unit, units):
    """The cell update of one block of 16 units, row by row; y (0: none) is written exactly."""
    for _ in range(rows):
        i, o, f, g = load(gates, 0), load(gates, 16), load(gates, 32), load(gates, 48)
        new_h, new_c = lstm_cell(i, o, f, g, load(c_before, unit))
        store(c, unit, new_c)
        store(h, unit, new_h)
        store_units(y, unit, new_h, units)
        gates += 4 * _K
        c_before += c_before_row
        c += c_row
        h += h_row
        y += y_row


@numba.njit(error_model="numpy")
def _step(w, rows, x, x_row, inputs, hb, hb_row, cb, cb_row, h, c, row, y, y_row, gates, units):
    """One step of an even number of rows; h and c stand in work, `row` bytes apart.

    The weights of a block of units stay in the nearest cache while all rows pass.
    """
    block = 4 * _K * (1 + inputs + units)
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
            c_at, y_at, to = cb + r * cb_row, y + r * y_row, r * row
            _finish(gates, count, c_at, cb_row, c + to, row, h + to, row, y_at, y_row, unit, units)
            r += count
        w += block


@numba.njit(error_model="numpy")
def lstm_rows(context, row):
    """As many rows of the batch as go together; answers how many. Plain cells without lengths and kept steps alone."""
    batch = field(row, _BATCH)
    if not has_wide_registers() or batch < 2 or field(row, _PLAIN) == 0:
        return 0
    if field(row, _LENGTHS) >= 0 or field(row, _KEEP) >= 0:
        return 0
    w, time, inputs, units = place(context, row, _W), field(row, _TIME), field(row, _INPUTS), field(row, _UNITS)
    x_time, y_time = 4 * field(row, _X_TIME), 4 * field(row, _Y_TIME)
    x_row, y_row = 4 * field(row, _X_ROW), 4 * field(row, _Y_ROW)
    size = 4 * ((units + 15) & -16)
    stride = 3 * size
    gates = place(context, row, _WORK)
    work = gates + 4 * _K * 6
    h_out, c_out = place(context, row, _H), place(context, row, _C)
    b = 0
    while batch - b >= 2:
        rows = min(batch - b, TOGETHER) & -2
        here, there, c = work, work + size, work + 2 * size
        x, y = place(context, row, _X) + b * x_row, place(context, row, _Y)
        hb, hb_row = place(context, row, _H0), 4 * field(row, _H0_STRIDE)
        if hb != 0:
            hb += b * hb_row
        else:
            hb, hb_row = there, stride
            zero_rows(there, stride, rows, size >> 2)
        cb, cb_row = place(context, row, _C0), 4 * field(row, _C0_STRIDE)
        if cb != 0:
            cb += b * cb_row
        else:
            cb, cb_row = c, stride
            zero_rows(c, stride, rows, size >> 2)
        x_step, y_step, between = x_time, 0, 0
        if y != 0:
            y += b * y_row
            y_step, between = y_time, y_row
        if field(row, _REVERSE) != 0:
            x += (time - 1) * x_step
            y += (time - 1) * y_step
            x_step, y_step = -x_step, -y_step
        for _ in range(time):
            _step(w, rows, x, x_row, inputs, hb, hb_row, cb, cb_row, here, c, stride, y, between, gates, units)
            hb, hb_row, cb, cb_row = here, stride, c, stride
            here, there = there, here
            x += x_step
            y += y_step
        for _ in range(rows):
            if h_out != 0:
                copy_row(hb, h_out + 4 * b * units, units)
            if c_out != 0:
                copy_row(cb, c_out + 4 * b * units, units)
            hb += hb_row
            cb += cb_row
            b += 1
    return b
