"""The walk of a recurrent cell over rows of the batch and, of each, over time. A cell gives its step.

Rows without lengths and kept steps may go together before, see `cell_rows.py` and `int8_rows.py`; others go one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba

from edgelstm.machine.context import TURN, field, place
from edgelstm.machine.kernels.sequence import copy_row, keeps, row_length, zero_rows
from edgelstm.machine.simd import read64
from edgelstm.program.opcodes import Opcode


class Step(NamedTuple):
    """One step of one row: addresses and counts.

    Attributes:
        w, inputs, units: as in the instruction; reading them at every step would hold it up.
        work: memory of the instruction itself, behind what the walk keeps there: two rows of h, one of c.
        number: how many steps of the row were before.
        count: how many steps the row has.
        x: the inputs; those of the next step stand x_step bytes further on.
        h_before, c_before: the states to go on from.
        h, c: where the new ones go, in whole vectors; c may be c_before.
        y: where the output goes, exactly; 0: nowhere.
        turn: 0 and 1 by turns. Who goes through the weights from their end at 1 finds what was read last in the cache.
    """

    w: int
    inputs: int
    units: int
    work: int
    number: int
    count: int
    x: int
    x_step: int
    h_before: int
    c_before: int
    h: int
    c: int
    y: int
    turn: int


@numba.njit(error_model="numpy")
def _start(given, offset, empty, units):
    """Where the state of a row starts: at an offset of what is given, else in zeros."""
    if given != 0:
        return given + offset
    zero_rows(empty, 0, 1, (units + 15) & -16)
    return empty


def one_by_one(opcode: Opcode, together: Any, step: Any) -> Any:
    """The kernel (context, row) of a cell: one direction of one layer, rows outside, time inside.

    Args:
        opcode: the instruction.
        together: jitted, (context, row) → how many rows of the batch are done already.
        step: jitted with inline="always", (context, row, `Step`). A call would take the step's many fields through
            memory, and numba hands forceinline down to whatever such a function calls first.
    """
    x_column, w_column, y_column, work_column = (opcode.column(name) for name in ("x", "w", "y", "work"))
    h0_column, h_column, h0_stride = (opcode.column(name) for name in ("h0", "h", "h0_stride"))
    carries_c = "c" in opcode.fields
    c0_column, c_column, c0_stride = (opcode.column(name) if carries_c else 0 for name in ("c0", "c", "c0_stride"))
    lengths_column, keep_column, reverse_column = (opcode.column(name) for name in ("lengths", "keep", "reverse"))
    time_column, batch_column, inputs_column, units_column = (opcode.column(name) for name in ("T", "B", "I", "H"))
    outputs_column = opcode.column("P") if "P" in opcode.fields else units_column
    x_time, x_row, y_time, y_row = (opcode.column(name) for name in ("x_time", "x_row", "y_time", "y_row"))

    @numba.njit(error_model="numpy")
    def kernel(context, row):
        time, batch = field(row, time_column), field(row, batch_column)
        inputs, units, outputs = field(row, inputs_column), field(row, units_column), field(row, outputs_column)
        lengths, keep = place(context, row, lengths_column), place(context, row, keep_column)
        reverse = field(row, reverse_column)
        w, here = place(context, row, w_column), place(context, row, work_column)
        there = here + 4 * ((outputs + 15) & -16)
        c = there + 4 * ((outputs + 15) & -16)
        work = c + 4 * ((units + 15) & -16) if carries_c else c
        turn = read64(context, TURN)
        for b in range(together(context, row), batch):
            steps = row_length(lengths, b, time)
            x, x_step = place(context, row, x_column) + 4 * b * field(row, x_row), 4 * field(row, x_time)
            y, y_step = place(context, row, y_column), 0
            if y != 0:
                y, y_step = y + 4 * b * field(row, y_row), 4 * field(row, y_time)
                zero_rows(y + steps * y_step, y_step, time - steps, outputs)
            if reverse != 0:
                x += (steps - 1) * x_step
                y += (steps - 1) * y_step
                x_step, y_step = -x_step, -y_step
            h_before = _start(place(context, row, h0_column), 4 * b * field(row, h0_stride), there, outputs)
            c_before = 0
            if carries_c:
                c_before = _start(place(context, row, c0_column), 4 * b * field(row, c0_stride), c, units)
            for k in range(steps):
                if keeps(keep, k, steps, reverse, batch, b):
                    copy_row(h_before, y, outputs)
                else:
                    now = Step(w, inputs, units, work, k, steps, x, x_step, h_before, c_before, here, c, y, turn)
                    step(context, row, now)
                    h_before, c_before = here, c
                    here, there = there, here
                    turn ^= 1
                x += x_step
                y += y_step
            h_out = place(context, row, h_column)
            if h_out != 0:
                copy_row(h_before, h_out + 4 * b * outputs, outputs)
            if carries_c:
                c_out = place(context, row, c_column)
                if c_out != 0:
                    copy_row(c_before, c_out + 4 * b * units, units)

    return kernel
