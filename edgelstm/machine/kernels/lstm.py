"""The LSTM over a sequence: see `program/lower/lstm.py` for the instruction and the weights' layout.

Each gate of each unit is one chain: the bias, then one FMA for each k of x, then of h, in order. With
AVX-512 two blocks of 16 units advance together, so that eight independent chains hide the latency of
the FMA; elsewhere one block is 8 or 16 chains, and all that the registers hold.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import TURN, field, float_field, place
from edgelstm.machine.kernels.activation import activate
from edgelstm.machine.kernels.lstm_rows import BLOCK, lstm_rows
from edgelstm.machine.kernels.sequence import copy_row, keeps, own_units, row_length, store_units, zero_rows
from edgelstm.machine.simd import broadcast, clamp, fma, has_wide_registers, load, read64, splat, store
from edgelstm.machine.tile import tallest, tile
from edgelstm.machine.vecmath import lstm_cell
from edgelstm.program.lower.lstm import GATES, LSTM
from edgelstm.program.lower.recurrent import AHEAD, AHEAD_UNITS

_KEEP = LSTM.column("keep")
_X, _W, _H0, _C0, _Y, _H, _C = (LSTM.column(name) for name in ("x", "w", "h0", "c0", "y", "h", "c"))
_PEEPHOLES, _PROJECTION, _WORK = (LSTM.column(name) for name in ("p", "proj", "work"))
_LENGTHS, _TIME, _BATCH, _INPUTS = (LSTM.column(name) for name in ("lengths", "T", "B", "I"))
_UNITS, _OUTPUTS, _REVERSE = (LSTM.column(name) for name in ("H", "P", "reverse"))
_X_TIME, _X_ROW, _Y_TIME, _Y_ROW = (LSTM.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))
_H0_STRIDE, _C0_STRIDE = LSTM.column("h0_stride"), LSTM.column("c0_stride")
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
    new_h, new_c = lstm_cell(i, o, f, g, load(c_before, unit))
    store(c, unit, new_c)
    store(h, unit, new_h)
    store_units(y, unit, new_h, units)


@numba.njit(error_model="numpy")
def _sum_ahead(w, x, x_step, inputs, sums, units, first, last):
    """What the gates of the units `first` to `last` take from the inputs of AHEAD steps: blocks, gates, lanes."""
    block = 4 * _K * (1 + inputs + units)
    size = 4 * GATES * ((units + 15) & -16)
    for unit in range(first, last, 16):
        at, to = w + block * (unit >> 4), sums + 4 * GATES * unit
        _steps_of_x(at, block, x, x_step, inputs, 0, 0, 0, to, size, 16)


@numba.njit(forceinline=True)
def _step_from(sums, w, x, inputs, h_before, c_before, h, c, y, units, first, last, turn):
    """One step of the units `first` to `last` with sigmoid and tanh alone: gates never touch memory.

    The gates go on from `sums`, see `_sum_ahead`; 0: from their biases and the products of x.
    Every other step (`turn`) goes through the blocks from the last to the first: weights too large for a
    cache then find there what the step before read last.
    """
    second, of_h = 4 * _K * (1 + inputs + units), 4 * _K * (1 + inputs)
    inputs = 0 if sums != 0 else inputs
    width = 32 if has_wide_registers() else 16
    count = (last - first + width - 1) // width
    for n in range(count):
        unit = first + width * (count - 1 - n if turn else n)
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
def _step_plain(w, x, inputs, h_before, c_before, h, c, y, units, first, last, turn):
    _step_from(0, w, x, inputs, h_before, c_before, h, c, y, units, first, last, turn)


@numba.njit(error_model="numpy")
def _step_ahead(sums, w, h_before, c_before, h, c, y, inputs, units, first, last, turn):
    _step_from(sums, w, 0, inputs, h_before, c_before, h, c, y, units, first, last, turn)


@numba.njit(error_model="numpy")
def _step_general(context, row, w, x, inputs, h_before, outputs, c_before, h, c, gates, peepholes, units):
    """One step with everything that the operator allows; h is the output before its projection."""
    second, of_h = 4 * _K * (1 + inputs + outputs), 4 * _K * (1 + inputs)
    first, last = own_units(context, units)
    w += second * (first >> 4)
    gates += 4 * GATES * first
    unit, to = first, gates
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
    activate_units(context, row, gates, peepholes, c_before, h, c, units)


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
def lstm(context, row):
    """One direction of one layer: rows of the batch outside, time inside.

    Work holds two rows of h (one read, one written), one of c and, on the general path, the h before
    its projection and the gates; on the plain path, in long sequences, what the gates of some steps take from x.
    """
    w, lengths = place(context, row, _W), place(context, row, _LENGTHS)
    peepholes, projection = place(context, row, _PEEPHOLES), place(context, row, _PROJECTION)
    time, batch, inputs = field(row, _TIME), field(row, _BATCH), field(row, _INPUTS)
    units, outputs, plain = field(row, _UNITS), field(row, _OUTPUTS), field(row, _PLAIN)
    keep, reverse = place(context, row, _KEEP), field(row, _REVERSE)
    x_time, y_time = 4 * field(row, _X_TIME), 4 * field(row, _Y_TIME)
    here = place(context, row, _WORK)
    there = here + 4 * ((outputs + 15) & -16)
    c = there + 4 * ((outputs + 15) & -16)
    whole = c + 4 * ((units + 15) & -16)
    gates = whole + 4 * ((units + 15) & -16)
    turn = read64(context, TURN)
    first, last = own_units(context, units)
    ahead = plain != 0 and time >= AHEAD and units >= AHEAD_UNITS and field(row, _KEEP) < 0 and tallest() == AHEAD
    size = 4 * GATES * ((units + 15) & -16)
    for b in range(lstm_rows(context, row), batch):
        steps = row_length(lengths, b, time)
        x = place(context, row, _X) + 4 * b * field(row, _X_ROW)
        y = place(context, row, _Y)
        if y != 0:
            y += 4 * b * field(row, _Y_ROW)
            zero_rows(y + steps * y_time, y_time, time - steps, outputs)
        h_before = place(context, row, _H0)
        if h_before != 0:
            h_before += 4 * b * field(row, _H0_STRIDE)
        else:
            h_before = there
            zero_rows(there, 0, 1, (outputs + 15) & -16)
        c_before = place(context, row, _C0)
        if c_before != 0:
            c_before += 4 * b * field(row, _C0_STRIDE)
        else:
            c_before = c
            zero_rows(c, 0, 1, (units + 15) & -16)
        x_step, y_step = x_time, y_time if y != 0 else 0
        if reverse != 0:
            x += (steps - 1) * x_step
            y += (steps - 1) * y_step
            x_step, y_step = -x_step, -y_step
        for k in range(steps):
            if keeps(keep, k, steps, reverse, batch, b):
                copy_row(h_before, y, outputs)
                x += x_step
                y += y_step
                continue
            if plain != 0:
                if ahead and k + AHEAD - k % AHEAD <= steps:
                    if k % AHEAD == 0:
                        _sum_ahead(w, x, x_step, inputs, whole, units, first, last)
                    sums = whole + size * (k % AHEAD)
                    _step_ahead(sums, w, h_before, c_before, here, c, y, inputs, units, first, last, turn)
                else:
                    _step_plain(w, x, inputs, h_before, c_before, here, c, y, units, first, last, turn)
                turn ^= 1
            else:
                raw = whole if projection != 0 else here
                _step_general(context, row, w, x, inputs, h_before, outputs, c_before, raw, c, gates, peepholes, units)
                if projection != 0:
                    _project(projection, raw, units, outputs, here)
                copy_row(here, y, outputs)
            h_before, c_before = here, c
            here, there = there, here
            x += x_step
            y += y_step
        h_out, c_out = place(context, row, _H), place(context, row, _C)
        if h_out != 0:
            copy_row(h_before, h_out + 4 * b * outputs, outputs)
        if c_out != 0:
            copy_row(c_before, c_out + 4 * b * units, units)
