"""The LSTM over a sequence: see `program/lower/lstm.py` for the instruction and the weights' layout.

Each gate of each unit is one chain: the bias, then one FMA for each k of x, then of h, in order. With
AVX-512 two blocks of 16 units advance together, so that eight independent chains hide the latency of
the FMA; elsewhere one block is 8 or 16 chains, and all that the registers hold.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.kernels.activation import activate
from edgelstm.machine.kernels.lstm_rows import BLOCK, lstm_rows
from edgelstm.machine.kernels.sequence import copy_row, own_units, store_units
from edgelstm.machine.kernels.walk import one_by_one
from edgelstm.machine.simd import broadcast, clamp, fma, has_wide_registers, load, splat, store
from edgelstm.machine.tile import tallest, tile
from edgelstm.machine.vecmath import lstm_c, lstm_h
from edgelstm.program.lower.lstm import GATES, LSTM
from edgelstm.program.lower.recurrent import AHEAD, AHEAD_UNITS

_PEEPHOLES, _PROJECTION, _OUTPUTS, _KEEP = (LSTM.column(name) for name in ("p", "proj", "P", "keep"))
_INPUT_FORGET, _PLAIN, _CLIP = (LSTM.column(name) for name in ("input_forget", "plain", "clip"))
_F, _F_ALPHA, _F_BETA = (LSTM.column(name) for name in ("function0", "alpha0", "beta0"))
_G, _G_ALPHA, _G_BETA = (LSTM.column(name) for name in ("function1", "alpha1", "beta1"))
_HF, _HF_ALPHA, _HF_BETA = (LSTM.column(name) for name in ("function2", "alpha2", "beta2"))

_K = 16 * GATES  # words of packed weights for one k
_BLOCK = 4 * 16  # bytes of 16 lanes
_steps_of_x = tile(BLOCK, AHEAD)


@numba.njit(forceinline=True)
def _accumulate(w, v, count, i, o, f, g):
    """Add count products w[k] v[k] to the gates of one block."""
    for k in range(count):
        x = broadcast(v, k)
        i = fma(load(w, 0), x, i)
        o = fma(load(w, 16), x, o)
        f = fma(load(w, 32), x, f)
        g = fma(load(w, 48), x, g)
        w += 4 * _K
    return i, o, f, g


@numba.njit(forceinline=True)
def _gates(start, w, x, inputs, of_h, h, outputs):
    """The gates i, o, f, g of one block of 16 units before their activations; products of h are `of_h` bytes on."""
    i, o, f, g = load(start, 0), load(start, 16), load(start, 32), load(start, 48)
    i, o, f, g = _accumulate(w + 4 * _K, x, inputs, i, o, f, g)
    return _accumulate(w + of_h, h, outputs, i, o, f, g)


@numba.njit(forceinline=True)
def _accumulate_two(w, second, v, count, i, o, f, g, i2, o2, f2, g2):
    """Add count products to the gates of two blocks, whose weights lie `second` bytes apart."""
    for k in range(count):
        x = broadcast(v, k)
        i = fma(load(w, 0), x, i)
        o = fma(load(w, 16), x, o)
        f = fma(load(w, 32), x, f)
        g = fma(load(w, 48), x, g)
        w2 = w + second
        i2 = fma(load(w2, 0), x, i2)
        o2 = fma(load(w2, 16), x, o2)
        f2 = fma(load(w2, 32), x, f2)
        g2 = fma(load(w2, 48), x, g2)
        w += 4 * _K
    return i, o, f, g, i2, o2, f2, g2


@numba.njit(forceinline=True)
def _gates_two(start, start2, w, second, x, inputs, of_h, h, outputs):
    """The gates of two neighbouring blocks."""
    i, o, f, g = load(start, 0), load(start, 16), load(start, 32), load(start, 48)
    i2, o2, f2, g2 = load(start2, 0), load(start2, 16), load(start2, 32), load(start2, 48)
    i, o, f, g, i2, o2, f2, g2 = _accumulate_two(w + 4 * _K, second, x, inputs, i, o, f, g, i2, o2, f2, g2)
    return _accumulate_two(w + of_h, second, h, outputs, i, o, f, g, i2, o2, f2, g2)


@numba.njit(forceinline=True)
def _update(i, o, f, g, c_before, c, h, y, unit, units):
    """The cell update of one block in registers; y (0: none) is written exactly."""
    new_c = lstm_c(i, f, g, load(c_before, unit))
    new_h = lstm_h(o, new_c)
    store(c, unit, new_c)
    store(h, unit, new_h)
    store_units(y, unit, new_h, units)


@numba.njit(error_model="numpy")
def _sum_ahead(context, now, size):
    """What the gates of the own units take from the inputs of AHEAD steps, `size` bytes each: blocks, gates, lanes."""
    inputs, units = now.inputs, now.units
    first, last = own_units(context, units)
    block = 4 * _K * (1 + inputs + units)
    for unit in range(first, last, 16):
        at, to = now.w + block * (unit >> 4), now.work + 4 * GATES * unit
        _steps_of_x(at, block, now.x, now.x_step, inputs, 0, 0, 0, to, size, 16)


@numba.njit(forceinline=True)
def _step_from(context, sums, now):
    """One step of the own units with sigmoid and tanh alone: gates never touch memory.

    The gates go on from `sums`, see `_sum_ahead`; 0: from their biases and the products of x.
    Every other step (`turn`) goes through the blocks from the last to the first: weights too large for a
    cache then find there what the step before read last.
    """
    x, h_before, c_before, h, c, y = now.x, now.h_before, now.c_before, now.h, now.c, now.y
    w, inputs, units = now.w, now.inputs, now.units
    first, last = own_units(context, units)
    second, of_h = 4 * _K * (1 + inputs + units), 4 * _K * (1 + inputs)
    inputs = 0 if sums != 0 else inputs
    width = 32 if has_wide_registers() else 16
    count = (last - first + width - 1) // width
    for n in range(count):
        unit = first + width * (count - 1 - n if now.turn else n)
        at = w + second * (unit >> 4)
        start, start2 = at, at + second
        if sums != 0:
            start = sums + 4 * GATES * unit
            start2 = start + 4 * _K
        if has_wide_registers() and unit + 16 < units:
            i, o, f, g, i2, o2, f2, g2 = _gates_two(start, start2, at, second, x, inputs, of_h, h_before, units)
            _update(i, o, f, g, c_before, c, h, y, unit, units)
            _update(i2, o2, f2, g2, c_before, c, h, y, unit + 16, units)
        else:
            i, o, f, g = _gates(start, at, x, inputs, of_h, h_before, units)
            _update(i, o, f, g, c_before, c, h, y, unit, units)


@numba.njit(error_model="numpy")
def _step_plain(context, now):
    _step_from(context, 0, now)


@numba.njit(error_model="numpy")
def _step_ahead(context, sums, now):
    _step_from(context, sums, now)


@numba.njit(error_model="numpy")
def _make_gates(context, row, now, to):
    """The gates of the own units before their activations, in memory."""
    w, x, h_before, inputs, outputs = now.w, now.x, now.h_before, now.inputs, field(row, _OUTPUTS)
    unit, last = own_units(context, now.units)
    second, of_h = 4 * _K * (1 + inputs + outputs), 4 * _K * (1 + inputs)
    w += second * (unit >> 4)
    while has_wide_registers() and unit + 16 < last:
        i, o, f, g, i2, o2, f2, g2 = _gates_two(w, w + second, w, second, x, inputs, of_h, h_before, outputs)
        store(to, 0, i)
        store(to, 16, o)
        store(to, 32, f)
        store(to, 48, g)
        store(to, 64, i2)
        store(to, 80, o2)
        store(to, 96, f2)
        store(to, 112, g2)
        w += 2 * second
        to += 2 * 4 * 16 * GATES
        unit += 32
    while unit < last:
        i, o, f, g = _gates(w, w, x, inputs, of_h, h_before, outputs)
        store(to, 0, i)
        store(to, 16, o)
        store(to, 32, f)
        store(to, 48, g)
        w += second
        to += 4 * 16 * GATES
        unit += 16


@numba.njit(error_model="numpy")
def activate_units(context, row, gates, peepholes, c_before, h, c, units):
    """Activations and cell update of the own units, from their gates in memory."""
    first, last = own_units(context, units)
    limit = float_field(row, _CLIP)
    f_function, f_alpha, f_beta = field(row, _F), float_field(row, _F_ALPHA), float_field(row, _F_BETA)
    g_function, g_alpha, g_beta = field(row, _G), float_field(row, _G_ALPHA), float_field(row, _G_BETA)
    h_function, h_alpha, h_beta = field(row, _HF), float_field(row, _HF_ALPHA), float_field(row, _HF_BETA)
    coupled = field(row, _INPUT_FORGET)
    stride = (units + 15) & -16
    for unit in range(first, last, 16):
        i, o, f, g = load(gates, 0), load(gates, 16), load(gates, 32), load(gates, 48)
        gates += 4 * 16 * GATES
        before = load(c_before, unit)
        p_o = splat(0.0)
        if peepholes != 0:
            i = fma(load(peepholes, unit), before, i)
            p_o = load(peepholes, stride + unit)
            f = fma(load(peepholes, 2 * stride + unit), before, f)
        i = activate(f_function, f_alpha, f_beta, clamp(i, -limit, limit))
        if coupled != 0:
            f = 1.0 - i
        else:
            f = activate(f_function, f_alpha, f_beta, clamp(f, -limit, limit))
        g = activate(g_function, g_alpha, g_beta, clamp(g, -limit, limit))
        now = fma(f, before, i * g)
        if peepholes != 0:
            o = fma(p_o, now, o)
        o = activate(f_function, f_alpha, f_beta, clamp(o, -limit, limit))
        store(c, unit, now)
        store(h, unit, o * activate(h_function, h_alpha, h_beta, clamp(now, -limit, limit)))


@numba.njit(error_model="numpy")
def _project(w, h, units, outputs, to):
    """to = proj h, 16 outputs at a time, k ascending; rows of `to` are whole vectors."""
    for output in range(0, outputs, 16):
        total = splat(0.0)
        for k in range(units):
            total = fma(load(w, 0), broadcast(h, k), total)
            w += _BLOCK
        store(to, output, total)


@numba.njit(error_model="numpy")
def _step_general(context, row, now):
    """One step with everything that the operator allows. Work: the h before its projection, the gates."""
    units, outputs = now.units, field(row, _OUTPUTS)
    first, _ = own_units(context, units)
    gates = now.work + 4 * ((units + 15) & -16) + 4 * GATES * first
    _make_gates(context, row, now, gates)
    projection = place(context, row, _PROJECTION)
    h = now.work if projection != 0 else now.h
    activate_units(context, row, gates, place(context, row, _PEEPHOLES), now.c_before, h, now.c, units)
    if projection != 0:
        _project(projection, h, units, outputs, now.h)
    copy_row(now.h, now.y, outputs)


@numba.njit(inline="always")
def _step(context, row, now):
    """One step of one row. In long sequences the products of x are made for AHEAD steps at once, into work."""
    if field(row, _PLAIN) == 0:
        _step_general(context, row, now)
        return
    units, k = now.units, now.number % AHEAD
    ahead = units >= AHEAD_UNITS and field(row, _KEEP) < 0 and tallest() == AHEAD
    if ahead and now.number - k + AHEAD <= now.count:
        size = 4 * GATES * ((units + 15) & -16)
        if k == 0:
            _sum_ahead(context, now, size)
        _step_ahead(context, now.work + size * k, now)
    else:
        _step_plain(context, now)


lstm = one_by_one(LSTM, lstm_rows, _step)
