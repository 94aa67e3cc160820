"""Rows of a batch that go through a recurrent cell together: the walk over rows, time and blocks of units.

Each row's bits are those that it would have alone (see `machine/tile.py`). A cell gives the layout of its weights and
its update; rows with lengths or kept steps go alone, as the last of an odd number does.
"""

from __future__ import annotations

from typing import Any

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.kernels.sequence import copy_row, zero_rows
from edgelstm.machine.tile import Block, tallest, tile
from edgelstm.program.lower.recurrent import TALLEST, TOGETHER
from edgelstm.program.opcodes import Opcode


def rows_together(opcode: Opcode, block: Block, *updates: Any, blocks: int = 1, carries_c: bool = False) -> Any:
    """The function (context, row) that runs as many rows of the batch as go together, and answers how many.

    Args:
        opcode: the instruction.
        block: how its weights are packed.
        updates: jitted, (row, sums, c_before, c, h_before, h, y, unit, units): the new state of one row's 16 units from
            their sums in memory; y (0: none) is written exactly. Where there are two, all rows of a tile go through
            the first, then all through the second: while one row waits for a division, others work.
        blocks: how many blocks of 16 units a tile takes: as many as fill the registers.
        carries_c: whether the cell has a state c beside h.
    """
    x_column, w_column, y_column, work_column = (opcode.column(name) for name in ("x", "w", "y", "work"))
    h0_column, h_column, h0_stride = (opcode.column(name) for name in ("h0", "h", "h0_stride"))
    c0_column, c_column, c0_stride = (opcode.column(n) if carries_c else 0 for n in ("c0", "c", "c0_stride"))
    lengths_column, keep_column, reverse_column = (opcode.column(name) for name in ("lengths", "keep", "reverse"))
    time_column, batch_column, inputs_column, units_column = (opcode.column(name) for name in ("T", "B", "I", "H"))
    x_time_column, x_row_column, y_time_column, y_row_column = (
        opcode.column(name) for name in ("x_time", "x_row", "y_time", "y_row")
    )
    many, many_narrow, two, two_narrow = (tile(block, rows, n) for rows in (TALLEST, 2) for n in (blocks, 1))
    biases, x_step, h_step = block.biases, block.x_step, block.h_step
    sum_bytes = 64 * len(block.of_x)
    work_bytes = TALLEST * sum_bytes * blocks
    states = 3 if carries_c else 2  # two of h, one of c

    @numba.njit(error_model="numpy")
    def make_sums(w, size, count, wide, x, x_row, inputs, h, h_row, units, sums):
        """The sums of a tile: `count` rows, `wide` blocks."""
        to_row = sum_bytes * wide
        if count == TALLEST:
            if wide == blocks:
                many(w, size, x, x_row, inputs, h, h_row, units, sums, to_row, 16)
            else:
                many_narrow(w, size, x, x_row, inputs, h, h_row, units, sums, to_row, 16)
        elif wide == blocks:
            two(w, size, x, x_row, inputs, h, h_row, units, sums, to_row, 16)
        else:
            two_narrow(w, size, x, x_row, inputs, h, h_row, units, sums, to_row, 16)

    def over_tile(update: Any) -> Any:
        @numba.njit(forceinline=True)
        def over(row, r, count, wide, sums, hb, hb_row, cb, cb_row, h, c, stride, y, y_row, unit, units):
            for n in range(r, r + count):
                cb_at, c_at, hb_at = cb + n * cb_row, c + n * stride, hb + n * hb_row
                h_at, y_at = h + n * stride, y + n * y_row
                for lane in range(unit, unit + 16 * wide, 16):
                    update(row, sums, cb_at, c_at, hb_at, h_at, y_at, lane, units)
                    sums += sum_bytes

        return over

    first, last, passes = over_tile(updates[0]), over_tile(updates[-1]), len(updates)

    @numba.njit(error_model="numpy")
    def step(row, w, rows, x, x_row, hb, hb_row, cb, cb_row, h, c, stride, y, y_row, sums):
        """One step of an even number of rows; h and c stand in work, `stride` bytes apart.

        The weights of a tile's blocks stay in the nearest cache while all rows pass.
        """
        inputs, units = field(row, inputs_column), field(row, units_column)
        size = 64 * biases + x_step * inputs + h_step * units
        unit = 0
        while unit < units:
            wide = blocks if unit + 16 * (blocks - 1) < units else 1
            r = 0
            while r < rows:
                count = TALLEST if tallest() == TALLEST and rows - r >= TALLEST else 2
                make_sums(w, size, count, wide, x + r * x_row, x_row, inputs, hb + r * hb_row, hb_row, units, sums)
                first(row, r, count, wide, sums, hb, hb_row, cb, cb_row, h, c, stride, y, y_row, unit, units)
                if passes > 1:
                    last(row, r, count, wide, sums, hb, hb_row, cb, cb_row, h, c, stride, y, y_row, unit, units)
                r += count
            unit += 16 * wide
            w += size * wide

    @numba.njit(error_model="numpy")
    def walk(context, row):
        batch = field(row, batch_column)
        w, time, units = place(context, row, w_column), field(row, time_column), field(row, units_column)
        x_time, y_time = 4 * field(row, x_time_column), 4 * field(row, y_time_column)
        x_row, y_row = 4 * field(row, x_row_column), 4 * field(row, y_row_column)
        size = 4 * ((units + 15) & -16)
        stride = states * size
        sums = place(context, row, work_column)
        work = sums + work_bytes
        h_out, c_out = place(context, row, h_column), place(context, row, c_column) if carries_c else 0
        b = 0
        while batch - b >= 2:
            rows = min(batch - b, TOGETHER) & -2
            here, there, c = work, work + size, work + 2 * size
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
                step(row, w, rows, x, x_row, hb, hb_row, cb, cb_row, here, c, stride, y, between, sums)
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

    @numba.njit(forceinline=True)
    def run(context, row):
        if tallest() == 1 or field(row, batch_column) < 2:
            return 0
        if field(row, lengths_column) >= 0 or field(row, keep_column) >= 0:
            return 0
        return walk(context, row)

    return run
