"""A row that a team of threads runs together: one step of one cell at a time, each thread some of its units.

The executor puts such a row in the place of a cell's (see `machine/sharing.py`), so that a program on one thread knows
nothing of this. Pieces of a step read the h of the step before and write the new one elsewhere: into the two work
buffers by turns, which begin with it. The chains of a unit are the same whoever computes it.
"""

from __future__ import annotations

import numba

from edgelstm.machine import places
from edgelstm.machine.atomic import call
from edgelstm.machine.context import INTERPRETER, TEAM
from edgelstm.machine.kernels.sequence import copy_row
from edgelstm.machine.pieces import share_step
from edgelstm.machine.simd import read64, write64
from edgelstm.program.opcodes import ROW

_ALONE, _PIECES, _CONTEXTS, _CONTEXT_BYTES = places.ALONE, places.PIECES, places.CONTEXTS, places.CONTEXT_BYTES
_ROWS, _STEPS, _UNITS = places.ROWS, places.STEPS, places.UNITS
_X_START, _X_STEP, _Y_START, _Y_STEP = places.X_START, places.X_STEP, places.Y_START, places.Y_STEP
_X_COLUMN, _H_COLUMN, _C_COLUMN = places.X_COLUMN, places.H_COLUMN, places.C_COLUMN
_WORK_COLUMN, _WORK, _OTHER_WORK, _C_IN_WORK = places.WORK_COLUMN, places.WORK, places.OTHER_WORK, places.C_IN_WORK
_H_START, _C_START, _H_END, _C_END = places.H_START, places.C_START, places.H_END, places.C_END


@numba.njit(forceinline=True)
def _operand(address):
    """An address as an operand: of the base at ABSENT_BASE."""
    return (address - 4) | 3


@numba.njit(error_model="numpy")
def shared(context, row):
    """SHARED: see `places.py`."""
    job, team, interpreter = read64(row, 1), read64(context, TEAM), read64(context, INTERPRETER)
    if team == 0:
        call(interpreter, read64(job, _ALONE), 0)
        return
    steps, pieces = read64(job, _ROWS), read64(job, _PIECES)
    units, c_column = read64(job, _UNITS), read64(job, _C_COLUMN)
    x, y, h, c = read64(job, _X_START), read64(job, _Y_START), read64(job, _H_START), read64(job, _C_START)
    work, other = read64(job, _WORK), read64(job, _OTHER_WORK)
    for _ in range(read64(job, _STEPS)):
        for n in range(pieces):
            step = steps + 8 * ROW * n
            write64(step, read64(job, _X_COLUMN), _operand(x))
            write64(step, read64(job, _H_COLUMN), _operand(h))
            write64(step, read64(job, _WORK_COLUMN), _operand(work))
            if c_column != 0:
                write64(step, c_column, _operand(c))
        share_step(team, interpreter, read64(job, _CONTEXTS), read64(job, _CONTEXT_BYTES), pieces)
        h, c = work, work + read64(job, _C_IN_WORK)
        copy_row(h, y, units)
        x += read64(job, _X_STEP)
        y += read64(job, _Y_STEP)
        work, other = other, work
    copy_row(h, read64(job, _H_END), units)
    if c_column != 0:
        copy_row(c, read64(job, _C_END), units)
