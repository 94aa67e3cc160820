"""Rows of a batch that go through int8 weights together: their products, and a recurrent cell's walk over them.

Each row's activations have their own scale and zero point and their sums are exact, so a row's bits are those that it
would have alone. Rows with lengths or kept steps go alone.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.dot_tile import tallest, tile, widest
from edgelstm.machine.kernels.int8 import group_bytes, product, quantize
from edgelstm.machine.kernels.sequence import copy_row, zero_rows
from edgelstm.machine.simd import store_int, store_scalar
from edgelstm.program.lower.int8 import INTEGER
from edgelstm.program.lower.recurrent import TOGETHER
from edgelstm.program.opcodes import Opcode

_VECTOR = 4 * 16  # bytes
_INTEGER, _TOGETHER = INTEGER, TOGETHER
_ZERO, _ONE = np.float32(0), np.float32(1)
_MANY, _TWO, _ONE_ROW = (tile(4, rows) for rows in (None, 2, 1))
_MANY_NARROW, _TWO_NARROW, _ONE_NARROW = (tile(1, rows) for rows in (None, 2, 1))


@numba.njit(error_model="numpy")
def quantize_rows(mode, v, v_row, rows, count, q, factors, scale, zero, least):
    """Rows of floats on 8 bits, in whole vectors; their scales and zero points to `factors`. See `quantize`."""
    if mode == _INTEGER:
        for r in range(rows):
            found, shift = quantize(v + r * v_row, count, q, scale, zero, least)
            store_scalar(factors, 2 * r, found)
            store_int(factors, 2 * r + 1, shift)
            q += (count + 15) & -16


@numba.njit(error_model="numpy")
def _group(w, rows, q, q_row, factors, quads, start, start_row, to, to_row):
    """Four vectors of sums of all rows."""
    r = 0
    while r < rows:
        many = rows - r >= tallest()
        count = tallest() if many else min(rows - r, 2)
        for n in range(0, 4 * _VECTOR, widest() * _VECTOR):
            if many:
                _MANY(w + n, quads, q, q_row, factors, start + n, start_row, to + n, to_row)
            elif count == 2:
                _TWO(w + n, quads, q, q_row, factors, start + n, start_row, to + n, to_row)
            else:
                _ONE_ROW(w + n, quads, q, q_row, factors, start + n, start_row, to + n, to_row)
        r += count
        q += count * q_row
        factors += 8 * count
        start += count * start_row
        to += count * to_row


@numba.njit(error_model="numpy")
def _vector(w, rows, q, q_row, factors, quads, start, start_row, to, to_row):
    """One vector of sums of all rows."""
    r = 0
    while r < rows:
        count = tallest()
        if rows - r >= count:
            _MANY_NARROW(w, quads, q, q_row, factors, start, start_row, to, to_row)
        elif rows - r >= 2:
            count = 2
            _TWO_NARROW(w, quads, q, q_row, factors, start, start_row, to, to_row)
        else:
            count = 1
            _ONE_NARROW(w, quads, q, q_row, factors, start, start_row, to, to_row)
        r += count
        q += count * q_row
        factors += 8 * count
        start += count * start_row
        to += count * to_row


@numba.njit(error_model="numpy")
def products(mode, w, vectors, rows, v, v_row, q, factors, count, start, start_row, to, to_row):
    """to = start + matrix · activations for several rows, see `product`; rows of `start` may be those of `to`."""
    if mode != _INTEGER:
        for r in range(rows):
            first, target = start + r * start_row, to + r * to_row
            product(mode, w, vectors, v + r * v_row, 0, _ZERO, 0, count, first, target, 0)
        return
    quads, q_row, done = (count + 3) >> 2, (count + 15) & -16, 0
    while done + 4 <= vectors:
        _group(w, rows, q, q_row, factors, quads, start, start_row, to, to_row)
        w += group_bytes(mode, count)
        start += 4 * _VECTOR
        to += 4 * _VECTOR
        done += 4
    while done < vectors:
        _vector(w, rows, q, q_row, factors, quads, start, start_row, to, to_row)
        w += group_bytes(mode, count) >> 2
        start += _VECTOR
        to += _VECTOR
        done += 1


def rows_together(opcode: Opcode, finish: Any, gates: int, *, h_sums: bool, carries_c: bool = False) -> Any:
    """The function (context, row) that runs as many rows of the batch as go together, and answers how many.

    Args:
        opcode: the instruction.
        finish: jitted, (row, of_x, of_h, c_before, c, h_before, h, y, units): the new state of one row's first units,
            at most as many as make whole groups of gates, from their sums in memory; y (0: none) is written exactly.
        gates: vectors of sums of a block of 16 units.
        h_sums: whether the sums over h stand apart, and start at a bias of their own.
        carries_c: whether the cell has a state c beside h.
    """
    x_column, w_column, r_column, y_column = (opcode.column(name) for name in ("x", "w", "r", "y"))
    bias_column, work_column, h0_column, h_column = (opcode.column(name) for name in ("bias", "work", "h0", "h"))
    h_bias_column = opcode.column("h_bias") if h_sums else 0
    c0_column, c_column, c0_stride = (opcode.column(n) if carries_c else 0 for n in ("c0", "c", "c0_stride"))
    h0_stride, lengths_column, keep_column = (opcode.column(name) for name in ("h0_stride", "lengths", "keep"))
    time_column, batch_column, inputs_column, units_column = (opcode.column(name) for name in ("T", "B", "I", "H"))
    x_time_column, x_row_column, y_time_column, y_row_column = (
        opcode.column(name) for name in ("x_time", "x_row", "y_time", "y_row")
    )
    w_mode_column, r_mode_column, bounded_column = (opcode.column(name) for name in ("w_mode", "r_mode", "h_bounded"))
    x_scale_column, x_zero_column, reverse_column = (opcode.column(name) for name in ("x_scale", "x_zero", "reverse"))
    states = 3 if carries_c else 2  # two of h, one of c
    wide = 1 if gates == 4 else 4  # blocks whose gates make whole groups
    sums_row = _VECTOR * gates * wide

    @numba.njit(error_model="numpy")
    def step(context, row, rows, x, x_row, hb, hb_row, cb, cb_row, h, c, stride, y, y_row, work):
        """One step of all rows; h and c stand in work, `stride` bytes apart.

        The weights of some blocks of units stay in the nearest cache while all rows pass.
        """
        w, r, bias = place(context, row, w_column), place(context, row, r_column), place(context, row, bias_column)
        inputs, units = field(row, inputs_column), field(row, units_column)
        w_mode, r_mode = field(row, w_mode_column), field(row, r_mode_column)
        least = _ONE if field(row, bounded_column) != 0 else _ZERO
        of_x = work
        of_h = of_x + rows * sums_row if h_sums else of_x
        x_bytes = of_h + rows * sums_row
        h_bytes = x_bytes + rows * ((inputs + 15) & -16)
        x_factors = h_bytes + rows * ((units + 15) & -16)
        h_factors = x_factors + 8 * rows
        x_scale, x_zero = float_field(row, x_scale_column), field(row, x_zero_column)
        quantize_rows(w_mode, x, x_row, rows, inputs, x_bytes, x_factors, x_scale, x_zero, _ZERO)
        quantize_rows(r_mode, hb, hb_row, rows, units, h_bytes, h_factors, _ZERO, 0, least)
        h_start, h_start_row = of_x, sums_row
        if h_sums:
            h_start, h_start_row = place(context, row, h_bias_column), 0
        for unit in range(0, units, 16 * wide):
            some = min(16 * wide, units - unit)
            vectors = gates * ((some + 15) >> 4)
            products(w_mode, w, vectors, rows, x, x_row, x_bytes, x_factors, inputs, bias, 0, of_x, sums_row)
            products(
                r_mode, r, vectors, rows, hb, hb_row, h_bytes, h_factors, units, h_start, h_start_row, of_h, sums_row
            )
            at = 4 * unit
            for n in range(rows):
                y_at = y + n * y_row + at if y != 0 else 0
                cb_at, c_at, hb_at = cb + n * cb_row + at, c + n * stride + at, hb + n * hb_row + at
                of_x_at, of_h_at = of_x + n * sums_row, of_h + n * sums_row
                finish(row, of_x_at, of_h_at, cb_at, c_at, hb_at, h + n * stride + at, y_at, some)
            w += group_bytes(w_mode, inputs) * gates * wide >> 2
            r += group_bytes(r_mode, units) * gates * wide >> 2
            bias += sums_row
            if h_sums:
                h_start += sums_row

    @numba.njit(error_model="numpy")
    def run(context, row):
        batch = field(row, batch_column)
        if tallest() == 1 or batch < 2 or field(row, lengths_column) >= 0 or field(row, keep_column) >= 0:
            return 0
        time, units = field(row, time_column), field(row, units_column)
        x_time, y_time = 4 * field(row, x_time_column), 4 * field(row, y_time_column)
        x_row, y_row = 4 * field(row, x_row_column), 4 * field(row, y_row_column)
        size = 4 * ((units + 15) & -16)
        stride = states * size
        first = place(context, row, work_column)
        work = first + stride * min(batch, _TOGETHER)
        h_out, c_out = place(context, row, h_column), place(context, row, c_column) if carries_c else 0
        for b in range(0, batch, _TOGETHER):
            rows = min(batch - b, _TOGETHER)
            here, there, c = first, first + size, first + 2 * size
            x, y = place(context, row, x_column) + b * x_row, place(context, row, y_column)
            hb, hb_row = place(context, row, h0_column), 4 * field(row, h0_stride)
            if hb != 0:
                hb += b * hb_row
            else:
                hb, hb_row = there, stride
                zero_rows(there, stride, rows, size >> 2)
            cb, cb_row = c, stride
            if carries_c:
                cb, cb_row = place(context, row, c0_column), 4 * field(row, c0_stride)
                if cb != 0:
                    cb += b * cb_row
                else:
                    cb, cb_row = c, stride
                    zero_rows(c, stride, rows, size >> 2)
            x_step, y_step, between = x_time, 0, 0
            if y != 0:
                y += b * y_row
                y_step, between = y_time, y_row
            if field(row, reverse_column) != 0:
                x += (time - 1) * x_step
                y += (time - 1) * y_step
                x_step, y_step = -x_step, -y_step
            for _ in range(time):
                step(context, row, rows, x, x_row, hb, hb_row, cb, cb_row, here, c, stride, y, between, work)
                hb, hb_row, cb, cb_row = here, stride, c, stride
                here, there = there, here
                x += x_step
                y += y_step
            for n in range(b, b + rows):
                if h_out != 0:
                    copy_row(hb, h_out + 4 * n * units, units)
                if c_out != 0:
                    copy_row(cb, c_out + 4 * n * units, units)
                hb += hb_row
                cb += cb_row
        return batch

    return run
